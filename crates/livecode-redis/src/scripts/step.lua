-- Acknowledges, extends and claims.
--
-- ARGV
--   2  the token of this call's leases: 8 bytes that no other call has
--   3  how many are acknowledged, and their ids and tokens (24 bytes each)
--   .  how many are extended, and of each its id and token, and by how much from now
--   .  how many claims there are, and of each how many jobs it may take, and for how long
--
-- Times are in units of 10 microseconds. Gives back how long it is until the next lease or delay is over (-1: none, or no claim was left without); the places, from
-- 1, of those that can't be extended; how many jobs each claim has; and of all these jobs the ids and the records.
local acks = tonumber(ARGV[3])
local first_extension = acks + 5
local extensions = tonumber(ARGV[first_extension - 1])
local first_claim = first_extension + 2 * extensions + 1
local claims = tonumber(ARGV[first_claim - 1])

if extensions + claims > 0 then
  tick()
end
if claims > 0 then
  advance()
end
local ids = {}
for index = 4, acks + 3 do
  ids[#ids + 1] = sub(ARGV[index], 1, 16)
end
for index = first_extension, first_claim - 2, 2 do
  ids[#ids + 1] = sub(ARGV[index], 1, 16)
end
local known = read(jobs, ids)

-- The job whose lease this is, and its record.
local function held(lease)
  local id = sub(lease, 1, 16)
  local record = known[id]
  if record and has_token(record) and sub(record, -9, -2) == sub(lease, 17) then
    return id, record
  end
end

local gone = {}
for index = 4, acks + 3 do
  local id, record = held(ARGV[index])
  if id then
    if does_wait(record) then
      stop_waiting(id, record)
    end
    gone[#gone + 1] = id
    known[id] = false
  end
end
each('HDEL', jobs, gone)
each('ZREM', times, gone)

local lost, ends = {}
for place = 1, extensions do
  local index = first_extension + 2 * place - 2
  local id, record = held(ARGV[index])
  if id then
    if does_wait(record) then
      stop_waiting(id, record)
      record = sub(record, 1, -2) .. 'L'
      known[id] = record
    end
    ends = ends or first_of(0)
    local over = now + tonumber(ARGV[index + 1])
    wake = wake or over < ends
    write_record(id, record, moment(over))
  else
    lost[#lost + 1] = place
  end
end

local wanted = 0
for index = first_claim, first_claim + 2 * claims - 2, 2 do
  wanted = wanted + tonumber(ARGV[index])
end
local next, counts, taken, bodies = -1, {}, {}, {}

-- Takes what is served first.
local function claim()
  flush()
  local members = call('ZRANGE', waiting, 0, wanted - 1)
  if #members == 0 then
    return
  end
  call('ZREMRANGEBYRANK', waiting, 0, #members - 1)
  for index, member in ipairs(members) do
    members[index] = sub(member, 15)
  end
  local found, keys, seen = call('HMGET', jobs, unpack(members)), {}, {}
  for index, record in ipairs(found) do
    -- Without one somebody else was at the keys.
    if record then
      local body, place = body_of(record), #taken + 1
      local key = sub(body, 19)
      taken[place], bodies[place] = members[index], body
      if seen[key] then
        seen[key] = seen[key] + 1
      else
        seen[key] = 1
        keys[#keys + 1] = key
      end
    end
  end
  read_turns(keys)
  for key, count in pairs(seen) do
    local own = turns[key]
    own.count = own.count - count
    own.changed = true
  end
  local index, tail, ends = 0, ARGV[2] .. 'L', {}
  for claim = 1, claims do
    local place = first_claim + 2 * claim - 2
    local over = ends[ARGV[place + 1]] or moment(now + tonumber(ARGV[place + 1]))
    ends[ARGV[place + 1]] = over
    local last = math.min(index + tonumber(ARGV[place]), #taken)
    counts[claim] = last - index
    while index < last do
      index = index + 1
      write_record(taken[index], bodies[index] .. tail, over)
    end
  end
end

if wanted > 0 then
  claim()
end
if claims > 0 and (wanted == 0 or #taken < wanted) then
  flush()
  mend()
  local sooner = math.min(first_of(0), first_of(DELAYED))
  next = sooner < math.huge and math.max(sooner - now, 0) or -1
end
finish()
return { next, lost, counts, taken, bodies }
