-- What a publisher's publications take, by topic: add to it, and forget what has expired.
--
-- KEYS  1 hash (topic → bytes, with an f behind them where the topic's history is full; the field
--         '' is the sum)
--       2 sorted set (topic → when its history expires, in seconds)
-- ARGV  1 how long the keys stay (s)
--       then for each topic: its name, bytes published since it was told last,
--       bytes that its history retains in all, seconds until that expires (0: only look)
-- Returns {sum, number of topics, state of each topic named…}: 0 unknown, 1 known, 2 full.
local held, times = KEYS[1], KEYS[2]
local now = tonumber(redis.call('TIME')[1])
local sum = tonumber(redis.call('HGET', held, '') or 0)

local function read(topic)
  local text = redis.call('HGET', held, topic)
  if not text then return nil, false end
  return tonumber(string.match(text, '^%d+')), string.sub(text, -1) == 'f'
end

for _, topic in ipairs(redis.call('ZRANGEBYSCORE', times, '-inf', now, 'LIMIT', 0, 1000)) do
  sum = sum - (read(topic) or 0)
  redis.call('HDEL', held, topic)
  redis.call('ZREM', times, topic)
end

local states = {}
for i = 2, #ARGV, 4 do
  local topic, ttl = ARGV[i], tonumber(ARGV[i + 3])
  local before, is_full = read(topic)
  if ttl > 0 then
    local most = tonumber(ARGV[i + 2])
    local bytes = (before or 0) + tonumber(ARGV[i + 1])
    is_full = bytes > most
    if is_full then bytes = most end
    redis.call('HSET', held, topic, string.format('%.0f', bytes) .. (is_full and 'f' or ''))
    redis.call('ZADD', times, now + ttl, topic)
    sum, before = sum + bytes - (before or 0), bytes
  end
  states[#states + 1] = before and (is_full and 2 or 1) or 0
end

redis.call('HSET', held, '', string.format('%.0f', sum))
redis.call('EXPIRE', held, ARGV[1])
redis.call('EXPIRE', times, ARGV[1])
return {string.format('%.0f', sum), redis.call('ZCARD', times), unpack(states)}
