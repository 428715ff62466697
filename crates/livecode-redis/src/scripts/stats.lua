-- How many wait, are delayed and are leased, and for how long, in units of 10 microseconds, the first has waited (-1: none). Changes
-- nothing: what is due is counted as what waits. Keys and moments are those of `common.lua`.
local waiting, times = KEYS[2], KEYS[3]
local clock = redis.call('TIME')
local now_text = clock[1] .. string.sub('000000' .. clock[2], -6, -2)

local function count(first, last)
  return redis.call('ZCOUNT', times, first, last)
end

-- How long ago the first of a band was or is.
local function age(band, first, last)
  local found = redis.call('ZRANGE', times, first, last, 'BYSCORE', 'LIMIT', '0', '1', 'WITHSCORES')
  return found[2] and tonumber(now_text) - tonumber(found[2]) + band or -1
end

return {
  redis.call('ZCARD', waiting) + count('0', now_text) + count('1e15', '1' .. now_text),
  count('(1' .. now_text, '(2e15'),
  count('(' .. now_text, '(1e15'),
  math.max(age(2e15, '2e15', '+inf'), age(0, '0', now_text), age(1e15, '1e15', '1' .. now_text)),
}
