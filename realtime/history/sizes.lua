-- What is retained of each topic: publications, and the bytes of their bodies.
--
-- KEYS  meta and log of each topic in turn
-- Returns {publications, bytes, …}.
local reply = {}
for i = 1, #KEYS, 2 do
  local publications, bytes = '0', '0'
  -- The log expires before its meta. Its own length counts what is not trimmed quite yet.
  if redis.call('XLEN', KEYS[i + 1]) > 0 then
    local state = redis.call('HMGET', KEYS[i], 'top', 'first', 'bytes')
    if state[1] then
      publications = string.format('%.0f', tonumber(state[1]) - tonumber(state[2]) + 1)
      bytes = state[3]
    end
  end
  reply[#reply + 1] = publications
  reply[#reply + 1] = bytes
end
return reply
