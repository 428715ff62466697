-- How many wait, are delayed and are leased, and for how many microseconds the first has waited (-1: none). Changes nothing: what is due
-- is counted as what waits. The keys are those of `common.lua`.
local waiting, times = KEYS[2], KEYS[3]
local BAND = 4e15
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function first(low, high)
  local found = redis.call('ZRANGE', times, low, high, 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  return found[2] and tonumber(found[2])
end
local function text(number)
  return string.format('%.0f', number)
end

local lapsed = redis.call('ZCOUNT', times, 0, now)
local ripe = redis.call('ZCOUNT', times, BAND, BAND + now)
local since = math.min(
  (first('-inf', '(0') or math.huge) + BAND,
  first(0, now) or math.huge,
  (first(BAND, BAND + now) or math.huge) - BAND
)
return {
  redis.call('ZCARD', waiting) + lapsed + ripe,
  redis.call('ZCOUNT', times, '(' .. text(BAND + now), '+inf'),
  redis.call('ZCOUNT', times, '(' .. text(now), '(' .. text(BAND)),
  since < math.huge and math.max(now - since, 0) or -1,
}
