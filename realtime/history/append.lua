-- Append one batch to a topic and announce it to the topic's group, as one step.
--
-- KEYS  1 meta (hash: epoch, top, first, bytes, mark, renewed)
--       2 log (stream, id <offset>-0, fields b = body, l = link)
--       3 prefix of the hashes that remember ids
-- ARGV  1 epoch to begin with   2 history size   3 history bytes   4 history ttl (s)
--       5 id memory (s)   6 channel of the group ('' = none)   7 head of the message
--       8 longest body that travels in the message
--       9 epoch and 10 offset of a publication that is known to have been here
--       11 mark of this batch   then id, body for each publication
-- Returns {epoch, first, link, bytes retained, why it could not be announced ('' where it was),
-- offset…}; the offset of a repeated id is negative.
--
-- A link is the mark of the publication before (8 bytes) and the own one (8 bytes), so that a
-- reader sees when the history under its feet was replaced by another one.
local meta, log, ids_prefix = KEYS[1], KEYS[2], KEYS[3]
local size, max_bytes, ttl, memory = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local longest, mark = tonumber(ARGV[8]), ARGV[11]

redis.call('HSETNX', meta, 'epoch', ARGV[1])
local state = redis.call('HMGET', meta, 'epoch', 'top', 'first', 'bytes', 'mark', 'renewed')
local epoch, top = state[1], tonumber(state[2] or 0)
local first, bytes = tonumber(state[3] or 1), tonumber(state[4] or 0)
local last_mark, renewed = state[5] or string.rep('\0', 8), tonumber(state[6] or 0)
local is_back = ARGV[9] == epoch and top < tonumber(ARGV[10])
if is_back or not state[2] then
  -- Redis came back without some of what it had confirmed (or kept a log without its meta):
  -- the offsets to come would be given twice. The past ends here.
  redis.call('DEL', log)
  if is_back then
    epoch, top, first, bytes, last_mark, renewed = ARGV[1], 0, 1, 0, string.rep('\0', 8), 0
    redis.call('HSET', meta, 'epoch', epoch)
  end
end
local now = tonumber(redis.call('TIME')[1])
local before, added = top, 0
local trouble = ''

-- Ids live in the hash of their epoch and period; looking into two covers the memory.
local period = math.floor(now / memory)
local ids_now = ids_prefix .. epoch .. ':' .. period
local ids_last = ids_prefix .. epoch .. ':' .. (period - 1)
local has_ids = false

local offsets, carried = {}, {}
for i = 12, #ARGV, 2 do
  local id, body = ARGV[i], ARGV[i + 1]
  local known = id ~= '' and (redis.call('HGET', ids_now, id) or redis.call('HGET', ids_last, id))
  if known then
    offsets[#offsets + 1] = -tonumber(known)
  else
    local link = (top == before and last_mark or mark) .. mark
    top = top + 1
    redis.call('XADD', log, string.format('%.0f-0', top), 'b', body, 'l', link)
    added = added + #body
    offsets[#offsets + 1] = top
    if id ~= '' then
      redis.call('HSET', ids_now, id, string.format('%.0f', top))
      has_ids = true
    end
    if #body > longest then
      carried[#carried + 1] = '\192'  -- nil: read it from the history
    else
      carried[#carried + 1] = '\198' .. struct.pack('>I4', #body) .. body
    end
  end
end

if top > before then
  -- A log that expired left nothing behind: what is retained begins with this batch.
  if redis.call('XLEN', log) == top - before then
    first, bytes, renewed = before + 1, 0, 0
  end
  bytes = bytes + added
  -- Trim by count and by bytes, reading the oldest to know their sizes.
  while first < top and (top - first + 1 > size or bytes > max_bytes) do
    -- About 256 KiB at a time: a few large ones, or some dozen small ones.
    local count = math.max(1, math.min(32, math.floor(262144 * (top - first + 1) / math.max(bytes, 1))))
    local oldest = redis.call('XRANGE', log, string.format('%.0f-0', first), '+', 'COUNT', count)
    for _, entry in ipairs(oldest) do
      if first >= top or (top - first + 1 <= size and bytes <= max_bytes) then break end
      bytes = bytes - #entry[2][2]
      first = first + 1
    end
    if #oldest == 0 then first = top end
  end
  redis.call('XTRIM', log, 'MINID', '~', string.format('%.0f-0', first))
  redis.call('HSET', meta, 'top', string.format('%.0f', top), 'first', string.format('%.0f', first),
    'bytes', string.format('%.0f', bytes), 'mark', mark)
  if now - renewed > math.min(ttl / 10, 60) then
    redis.call('HSET', meta, 'renewed', now)
    redis.call('EXPIRE', log, math.ceil(ttl))
    -- Who comes back after that time still finds the epoch: for as long again, ten minutes to a day.
    redis.call('EXPIRE', meta, math.ceil(ttl + math.max(600, math.min(ttl, 86400))))
  end
  if has_ids then redis.call('EXPIRE', ids_now, 2 * memory) end
  if ARGV[6] ~= '' then
    local count = #carried
    -- What is stored is accepted: where an ACL lacks the channels, readers find it by themselves.
    local told = redis.pcall('PUBLISH', ARGV[6], ARGV[7]
      .. '\165epoch\217' .. string.char(#epoch) .. epoch
      .. '\166offset\207' .. struct.pack('>I8', before + 1)
      .. '\165first\207' .. struct.pack('>I8', first)
      .. '\164link\196\16' .. last_mark .. mark
      .. '\167entries\220' .. struct.pack('>I2', count) .. table.concat(carried))
    if type(told) == 'table' then trouble = told['err'] end
  end
end

local reply = {epoch, string.format('%.0f', first), last_mark .. mark, string.format('%.0f', bytes), trouble}
for _, offset in ipairs(offsets) do reply[#reply + 1] = string.format('%.0f', offset) end
return reply
