-- Read retained publications after an offset, up to a number and a size.
--
-- KEYS  1 meta   2 log
-- ARGV  1 epoch to begin with   2 after   3 limit   4 bytes
--       5 seconds that a topic which is new stays known
-- Returns {epoch, first, top, mark, start, body, link…}.
-- A write, so that a primary that was demoted refuses, whose top would lag behind.
if redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1]) == 1 then
  redis.call('EXPIRE', KEYS[1], ARGV[5])
end
local state = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'first', 'mark')
local top, first = tonumber(state[2] or 0), tonumber(state[3] or 1)
local after, limit, room = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

if redis.call('XLEN', KEYS[2]) == 0 then first = top + 1 end
local start = math.max(after + 1, first)
local reply = {state[1], string.format('%.0f', first), string.format('%.0f', top),
  state[4] or string.rep('\0', 8), string.format('%.0f', start)}
local from = start
while from <= top and limit > 0 and room > 0 do
  local entries = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', from), '+', 'COUNT', math.min(limit, 16))
  if #entries == 0 then break end
  for _, entry in ipairs(entries) do
    if room <= 0 then break end
    local fields = entry[2]
    reply[#reply + 1] = fields[2]
    reply[#reply + 1] = fields[4]
    room = room - #fields[2]
    limit = limit - 1
    from = from + 1
  end
end
return reply
