-- Adds jobs, each push all or none.
--
-- ARGV
--   2  the most jobs that there may be; 0: any number
--   3  and on, for each push: how many jobs it has, and those: id (16 bytes), attempt (4), microseconds of delay (8), priority (2), owner
--
-- Gives back the places of those pushes, from 1, that found no room.
local most = tonumber(ARGV[2])
local ids, keys = {}, {}
local size = most > 0 and call('HLEN', jobs) or 0

local at = 3
while ARGV[at] do
  local count = tonumber(ARGV[at])
  for index = at + 1, at + count do
    ids[#ids + 1] = sub(ARGV[index], 1, 16)
  end
  at = at + count + 1
end
local known = read(jobs, ids)
local seen = {}
at = 3
while ARGV[at] do
  local count = tonumber(ARGV[at])
  for index = at + 1, at + count do
    local key = sub(ARGV[index], 29)
    if not seen[key] then
      seen[key] = true
      keys[#keys + 1] = key
    end
  end
  at = at + count + 1
end
read_turns(keys)

local arrival = call('INCRBY', arrivals, #ids) - #ids
local ends
local function push(job)
  local id, attempt, key = sub(job, 1, 16), sub(job, 17, 20), sub(job, 29)
  arrival = arrival + 1
  local old = known[id]
  if old then
    if unpack_bytes('>I4', attempt) <= unpack_bytes('>I4', old, 2) then
      return
    end
    local state = sub(old, 1, 1)
    if state == 'W' or state == 'R' then
      stop_waiting(id, old)
    end
  end
  local rest = pack('>I6', arrival) .. key
  local delay = unpack_bytes('>I8', job, 21)
  if delay == 0 then
    wait(id, 'W', attempt, nil, rest, key, now)
    known[id] = records[#records]
  else
    known[id] = 'D' .. attempt .. '\0\0\0\0\0\0' .. rest
    write_record(id, known[id], BAND + now + delay)
    if ends == nil then
      ends = first_of(BAND) or math.huge
    end
    wake = wake or now + delay < ends
  end
end

local refused = {}
local place = 0
at = 3
while ARGV[at] do
  local count = tonumber(ARGV[at])
  place = place + 1
  local new = 0
  if most > 0 then
    local here = {}
    for index = at + 1, at + count do
      local id = sub(ARGV[index], 1, 16)
      if not known[id] and not here[id] then
        here[id] = true
        new = new + 1
      end
    end
  end
  if new > 0 and size + new > most then
    refused[#refused + 1] = place
  else
    size = size + new
    for index = at + 1, at + count do
      push(ARGV[index])
    end
  end
  at = at + count + 1
end
finish()
return refused
