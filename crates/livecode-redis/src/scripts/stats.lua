-- How many wait, are delayed and are leased, and for how many microseconds the first has waited (-1: none). Changes nothing: what is due
-- is counted as what waits. The keys are those of `common.lua`.
local waiting, times = KEYS[2], KEYS[3]
local BAND = 4e15
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function moment(at)
  return string.format('%.0f', at)
end

local function count(first, last)
  return redis.call('ZCOUNT', times, first, last)
end

local function first_of(first, last)
  local found = redis.call('ZRANGE', times, first, last, 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  return found[2] and tonumber(found[2]) or math.huge
end

local lapsed, ripe = count(0, moment(now)), count(moment(BAND), moment(BAND + now))
local since = math.min(
  first_of('-inf', '(0') + BAND,
  first_of(0, moment(now)),
  first_of(moment(BAND), moment(BAND + now)) - BAND
)
return {
  redis.call('ZCARD', waiting) + lapsed + ripe,
  count('(' .. moment(BAND + now), '+inf'),
  count('(' .. moment(now), '(' .. moment(BAND)),
  since < math.huge and math.max(now - since, 0) or -1,
}
