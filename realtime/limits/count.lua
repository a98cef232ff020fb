-- Writes counts of an instance, and counts connections that all instances together have room for.
-- KEYS: the names of the instances; the counts of this one.
-- ARGV: its name; its lease in milliseconds; the number of its last call, or '' to begin anew;
--   the number of this call; how many counts follow; for each its subject and the count;
--   for each connection how many subjects it has, and for each of them its name and its most.
-- Returns for each connection which of its subjects has its most already, or 0; nil where the
-- last call is not known.
local instances, own = KEYS[1], KEYS[2]
local name, lease, before, call = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if before == '' then
  redis.call('UNLINK', own)
elseif redis.call('HGET', own, '') ~= before then
  return false
end
redis.call('HSET', own, '', call)
redis.call('PEXPIRE', own, lease)
redis.call('SADD', instances, name)
redis.call('PEXPIRE', instances, lease)

local at = 6
for _ = 1, tonumber(ARGV[5]) do
  if ARGV[at + 1] == '0' then
    redis.call('HDEL', own, ARGV[at])
  else
    redis.call('HSET', own, ARGV[at], ARGV[at + 1])
  end
  at = at + 2
end

-- What those who ask for room have on all instances.
local subjects, totals = {''}, {}
local look = at
while look <= #ARGV do
  for _ = 1, tonumber(ARGV[look]) do
    local subject = ARGV[look + 1]
    if not totals[subject] then
      totals[subject] = 0
      subjects[#subjects + 1] = subject
    end
    look = look + 2
  end
  look = look + 1
end
if #subjects > 1 then
  for _, instance in ipairs(redis.call('SMEMBERS', instances)) do
    local counts = redis.call('HMGET', instances .. ':' .. instance, unpack(subjects))
    if not counts[1] then
      redis.call('SREM', instances, instance)  -- its lease is over
    end
    for index = 2, #subjects do
      totals[subjects[index]] = totals[subjects[index]] + (counts[index] or 0)
    end
  end
end

local answers = {}
while at <= #ARGV do
  local count, over = tonumber(ARGV[at]), 0
  for index = 1, count do
    local subject, most = ARGV[at + 2 * index - 1], tonumber(ARGV[at + 2 * index])
    if over == 0 and totals[subject] >= most then
      over = index
    end
  end
  if over == 0 then
    for index = 1, count do
      local subject = ARGV[at + 2 * index - 1]
      totals[subject] = totals[subject] + 1
      redis.call('HINCRBY', own, subject, 1)
    end
  end
  answers[#answers + 1] = over
  at = at + 1 + 2 * count
end
return answers
