-- Begin a new epoch of a topic, unless somebody did already.
--
-- KEYS  1 meta   2 log
-- ARGV  1 the epoch that was lost   2 the new one
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
  redis.call('DEL', KEYS[2])
  redis.call('HDEL', KEYS[1], 'top', 'first', 'bytes', 'mark', 'renewed')
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
end
return redis.status_reply('OK')
