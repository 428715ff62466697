-- Adds jobs, each push all or none.
--
-- ARGV
--   2  the most jobs that there may be; 0: any number
--   3  and on, for each push: how many jobs it has, and those: id (16 bytes), whether it's delayed (1) and by how much (8), its
--      place in this call (3), attempt (4), priority (2), owner
--
-- Gives back the places of those pushes, from 1, that found no room.
tick()
-- Jobs for which lists do as well as tables.
local SHORT = 10
local most = tonumber(ARGV[2])
local size = call('HLEN', jobs)

local ids, keys, seen = {}, {}, {}
local function each_push(act)
  local at, place = 3, 0
  while ARGV[at] do
    local last = at + tonumber(ARGV[at])
    place = place + 1
    act(place, at + 1, last)
    at = last + 1
  end
end

each_push(function(_, first, last)
  for index = first, last do
    local job = ARGV[index]
    local key = sub(job, 33)
    ids[#ids + 1] = sub(job, 1, 16)
    if not seen[key] then
      seen[key] = true
      keys[#keys + 1] = key
    end
  end
end)
-- Where there's nothing it isn't looked for.
local known = size > 0 and read(jobs, ids) or {}
for _, id in ipairs(ids) do
  if known[id] then
    if mend() then
      known, size = {}, 0
    end
    break
  end
end
if size == 0 then
  -- What is there all the same is of jobs that were thrown away.
  call('UNLINK', waiting, times, owners)
  was_empty, none_waits = true, true
elseif call('ZCARD', waiting) == 0 then
  was_empty, none_waits = true, true
else
  read_turns(keys)
end

local before = size
local brought = pack('>I5', call('INCR', arrivals))
local since = '2' .. now_text
local ends

-- Whether it's the first attempt or a higher one; a lower one is gone then.
local function replaces(id, job)
  local old = known[id]
  if not old then
    return true
  end
  if parse('>I4', job, 29) <= parse('>I4', old, 15) then
    return false
  end
  if does_wait(old) then
    stop_waiting(id, old)
  end
  return true
end

local function add(id, job)
  local arrival, rest = brought .. sub(job, 26, 28), sub(job, 29)
  if byte(job, 17) == 0 then
    wait(id, turns_of(sub(job, 33)), nil, arrival, rest, 'W', since)
  else
    local over = now + parse('>I8', job, 18)
    write_record(id, '\0\0\0\0\0\0' .. arrival .. rest .. 'D', moment(DELAYED + over))
    ends = ends or first_of(DELAYED)
    wake = wake or over < ends
  end
  known[id] = records[#records]
end

-- How many of these it has no job for.
local function unknown(first, last)
  local count, here = 0, {}
  for index = first, last do
    local id = sub(ARGV[index], 1, 16)
    if not known[id] and not here[id] then
      here[id] = true
      count = count + 1
    end
  end
  return count
end

local refused, number = {}, 0
each_push(function(place, first, last)
  local more = most > 0 and unknown(first, last) or 0
  if more > 0 and size + more > most then
    refused[#refused + 1] = place
    number = number + last - first + 1
    return
  end
  size = size + more
  for index = first, last do
    number = number + 1
    local id, job = ids[number], ARGV[index]
    if replaces(id, job) then
      add(id, job)
    end
  end
end)
finish()
if before < SHORT and before + #ids >= SHORT then
  -- A short hash or set is a list that is read from one end to the other, which for a hundred jobs takes longer than a table. A long
  -- name makes tables of them, which they stay as long as something is in them.
  local long = string.rep('-', 65)
  call('HSET', jobs, long, '')
  call('HDEL', jobs, long)
  call('ZADD', times, '0', long)
  call('ZREM', times, long)
end
return refused
