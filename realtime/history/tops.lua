-- The epoch, the last offset and its mark of each topic; a topic without an epoch gets one.
--
-- KEYS  meta of each topic
-- ARGV  1 epoch to begin with   2 seconds that a topic which is held stays known
-- Returns {epoch, top, mark, …}.
local reply = {}
for _, meta in ipairs(KEYS) do
  -- A write, so that a primary that was demoted refuses, whose tops would lag behind.
  redis.call('HSETNX', meta, 'epoch', ARGV[1])
  if redis.call('TTL', meta) < ARGV[2] / 2 then
    redis.call('EXPIRE', meta, ARGV[2])
  end
  local state = redis.call('HMGET', meta, 'epoch', 'top', 'mark')
  reply[#reply + 1] = state[1]
  reply[#reply + 1] = state[2] or '0'
  reply[#reply + 1] = state[3] or string.rep('\0', 8)
end
return reply
