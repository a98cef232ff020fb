-- Read retained publications after an offset, up to a number and a size.
--
-- KEYS  1 meta   2 log
-- ARGV  1 epoch of a topic that is new   2 after   3 limit   4 bytes
--       5 seconds that such a topic stays known (0 = reading it leaves no trace)
--       6 bytes of each body that are wanted (0 = all of them)
-- Returns {epoch, first, top, mark, start, body, link…}.
-- A write, so that a primary that was demoted refuses, whose top would lag behind.
redis.call('HDEL', KEYS[1], 'none')
if tonumber(ARGV[5]) > 0 and redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1]) == 1 then
  redis.call('EXPIRE', KEYS[1], ARGV[5])
end
local state = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'first', 'mark', 'bytes')
local top, first, retained = tonumber(state[2] or 0), tonumber(state[3] or 1), tonumber(state[5] or 0)
local after, limit, room = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local head = tonumber(ARGV[6])

if redis.call('XLEN', KEYS[2]) == 0 then first = top + 1 end
local start = math.max(after + 1, first)
local reply = {state[1] or ARGV[1], string.format('%.0f', first), string.format('%.0f', top),
  state[4] or string.rep('\0', 8), string.format('%.0f', start)}
-- Whole bodies are copied into the script even where few bytes of them are wanted. Some MiB of
-- them at most, since everybody else waits meanwhile; and not many more at a time than fit.
local touched = head > 0 and 16 * room or room
local mean = math.max(retained / math.max(top - first + 1, 1), 1)
local from = start
while from <= top and limit > 0 and room > 0 and touched > 0 do
  local count = math.max(1, math.min(limit, 16, math.ceil(touched / mean)))
  local entries = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', from), '+', 'COUNT', count)
  if #entries == 0 then break end
  for _, entry in ipairs(entries) do
    if room <= 0 or touched <= 0 then break end
    local body, link = entry[2][2], entry[2][4]
    touched = touched - #body
    if head > 0 then body = string.sub(body, 1, head) end
    reply[#reply + 1] = body
    reply[#reply + 1] = link
    room = room - #body
    limit = limit - 1
    from = from + 1
  end
end
return reply
