-- Acknowledges, extends and claims.
--
-- ARGV
--   2  what the tokens of this call's leases begin with: 12 bytes that nobody else has
--   3  how many are acknowledged, and their ids and tokens (32 bytes each)
--   .  how many are extended, and of each its id and token, and by how many microseconds from now
--   .  how many claims there are, and of each how many jobs it may take, and for how many microseconds
--
-- Gives back how many microseconds it is until the next lease or delay is over (-1: none); the places, from 1, of those that can't be
-- extended; and for each claim its jobs' ids and attempts (20 bytes each) in one text. The tokens are numbered through all of them.
local acks, at = tonumber(ARGV[3]), 4
local extensions = tonumber(ARGV[at + acks])
local first_ack, first_extension = at, at + acks + 1
local first_claim = first_extension + 2 * extensions + 1
local claims = tonumber(ARGV[first_claim - 1])

local ids = {}
for index = first_ack, first_ack + acks - 1 do
  ids[#ids + 1] = sub(ARGV[index], 1, 16)
end
for index = first_extension, first_claim - 2, 2 do
  ids[#ids + 1] = sub(ARGV[index], 1, 16)
end
local known = read(jobs, ids)

-- The record of the job whose lease this is, and its state.
local function held(lease)
  local id = sub(lease, 1, 16)
  local record = known[id]
  if record and has_token(record) and sub(record, -16) == sub(lease, 17) then
    return id, record, sub(record, 1, 1)
  end
end

local gone = {}
for index = first_ack, first_ack + acks - 1 do
  local id, record, state = held(ARGV[index])
  if id then
    if state == 'R' then
      stop_waiting(id, record)
    end
    gone[#gone + 1] = id
    known[id] = false
  end
end
each('HDEL', jobs, gone)
each('ZREM', times, gone)

local lost = {}
local ends
for place = 1, extensions do
  local index = first_extension + 2 * place - 2
  local id, record, state = held(ARGV[index])
  if id then
    if state == 'R' then
      stop_waiting(id, record)
      record = 'L' .. sub(record, 2)
      known[id] = record
    end
    ends = ends or first_of(0) or math.huge
    local over = now + tonumber(ARGV[index + 1])
    wake = wake or over < ends
    write_record(id, record, over)
  else
    lost[#lost + 1] = place
  end
end

local wanted = 0
for index = first_claim, first_claim + 2 * claims - 2, 2 do
  wanted = wanted + tonumber(ARGV[index])
end
local taken = {}
local next = -1
if claims > 0 then
  flush()
  local members = {}
  if wanted > 0 then
    members = call('ZRANGE', waiting, 0, wanted - 1)
  end
  if #members > 0 then
    call('ZREMRANGEBYRANK', waiting, 0, #members - 1)
  end
  for index, member in ipairs(members) do
    members[index] = sub(member, 13)
  end
  known = read(jobs, members)
  local keys, own_keys, seen = {}, {}, {}
  ids = {}
  for _, id in ipairs(members) do
    -- Without a record: somebody else was at the keys.
    if known[id] then
      local key = key_of(known[id])
      ids[#ids + 1] = id
      keys[#ids] = key
      if not seen[key] then
        seen[key] = true
        own_keys[#own_keys + 1] = key
      end
    end
  end
  read_turns(own_keys)
  local index = 0
  for claim = 1, claims do
    local place = first_claim + 2 * claim - 2
    local over = now + tonumber(ARGV[place + 1])
    local last = math.min(index + tonumber(ARGV[place]), #ids)
    local text = {}
    while index < last do
      index = index + 1
      local id, key = ids[index], keys[index]
      local record = known[id]
      local own = turns[key]
      own.count = own.count - 1
      own.changed = true
      text[#text + 1] = id
      text[#text + 1] = sub(record, 2, 5)
      write_record(id, 'L' .. sub(record, 2, 17) .. key .. ARGV[2] .. pack('>I4', index), over)
    end
    taken[claim] = table.concat(text)
  end
  if #ids < wanted or wanted == 0 then
    flush()
    local sooner = math.min(first_of(0) or math.huge, first_of(BAND) or math.huge)
    if sooner < math.huge then
      next = math.max(sooner - now, 0)
    end
  end
end
finish()
return { next, lost, taken }
