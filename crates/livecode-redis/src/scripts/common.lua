-- What `push.lua` and `step.lua` begin with.
--
-- KEYS
--   1  jobs     hash    id -> record
--   2  waiting  zset    -priority: turn, arrival, id      in the order in which they are served
--   3  times    zset    moment: id                        see BAND
--   4  owners   hash    priority, owner -> the highest turn of those of theirs that wait, and how many wait
--   5  arrivals string  how many have come
-- ARGV
--   1  the channel that claimers hear of
--
-- A record is a byte for its state, 4 for its attempt, 6 for its turn, 6 for its arrival, 2 for its priority, its owner's name, and
-- the 16 of its token where it has one. Numbers have the most significant byte first: as text they're in their order. States:
--   D  delayed    W  waits, never claimed    L  leased    R  waits again: its lease has lapsed, and its holder may still extend
local jobs, waiting, times, owners, arrivals = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call, pack, unpack_bytes = redis.call, struct.pack, struct.unpack
local sub = string.sub

-- Moments are microseconds of the server's clock, in three bands of one set: since when a job waits (below 0), when its lease is
-- over (from 0), when its delay is over (from BAND). A double counts that far one by one, and a clock gets there in the year 2096.
local BAND = 4e15
-- The most jobs that become due in one call: some milliseconds' work. Those left are the next call's.
local AT_ONCE = 1000

local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]
local was_empty = call('ZCARD', waiting) == 0
local wake = false

-- Variadic commands, in parts: Lua's stack is finite.
local function each(command, key, list)
  for first = 1, #list, 4000 do
    call(command, key, unpack(list, first, math.min(first + 3999, #list)))
  end
end

-- What HMGET finds, by field.
local function read(key, fields)
  local found = {}
  for first = 1, #fields, 4000 do
    local last = math.min(first + 3999, #fields)
    local values = call('HMGET', key, unpack(fields, first, last))
    for index = first, last do
      found[fields[index]] = values[index - first + 1]
    end
  end
  return found
end

-- Changes that are yet to be written. Two of one job or owner are in their order.
local records, moments, served = {}, {}, {}
local function write_record(id, record, moment)
  records[#records + 1] = id
  records[#records + 1] = record
  moments[#moments + 1] = moment
  moments[#moments + 1] = id
end

local function flush()
  each('HSET', jobs, records)
  each('ZADD', times, moments)
  each('ZADD', waiting, served)
  records, moments, served = {}, {}, {}
end

-- A record's parts. The key is that of `owners`.
local function has_token(record)
  local state = sub(record, 1, 1)
  return state == 'L' or state == 'R'
end

local function key_of(record)
  return has_token(record) and sub(record, 18, -17) or sub(record, 18)
end

local function score_of(key)
  return -unpack_bytes('>i2', key)
end

-- Turns by key, as they are now; those that have changed are written at the end.
local turns = {}
local function turns_of(key)
  local own = turns[key]
  if not own then
    local packed = call('HGET', owners, key)
    own = { high = 0, count = 0 }
    if packed then
      own.high, own.count = unpack_bytes('>I6I4', packed)
    end
    turns[key] = own
  end
  return own
end

local function read_turns(keys)
  for key, packed in pairs(read(owners, keys)) do
    if not turns[key] then
      local own = { high = 0, count = 0 }
      if packed then
        own.high, own.count = unpack_bytes('>I6I4', packed)
      end
      turns[key] = own
    end
  end
end

local function write_turns()
  local set, gone = {}, {}
  for key, own in pairs(turns) do
    if own.changed and own.count > 0 then
      set[#set + 1] = key
      set[#set + 1] = pack('>I6I4', own.high, own.count)
    elseif own.changed then
      gone[#gone + 1] = key
    end
  end
  each('HSET', owners, set)
  each('HDEL', owners, gone)
end

-- The lowest turn that waits, by score; false where none does.
local lowest = {}
local function lowest_of(score)
  if lowest[score] == nil then
    local first = call('ZRANGE', waiting, score, score, 'BYSCORE', 'LIMIT', 0, 1)[1]
    lowest[score] = first and unpack_bytes('>I6', first) or false
  end
  return lowest[score]
end

-- Lets a job wait, by this turn or by its next. `rest` is what of its record comes after the turn.
local function wait(id, state, attempt, turn, rest, key, since)
  local score, own = score_of(key), turns_of(key)
  local low = lowest_of(score)
  if not turn then
    turn = math.max(low or 0, own.count > 0 and own.high + 1 or 0)
  end
  own.high = own.count > 0 and math.max(own.high, turn) or turn
  own.count = own.count + 1
  own.changed = true
  if not low or turn < low then
    lowest[score] = turn
  end
  local packed = pack('>I6', turn)
  write_record(id, state .. attempt .. packed .. rest, since - BAND)
  served[#served + 1] = score
  served[#served + 1] = packed .. sub(rest, 1, 6) .. id
end

-- Takes a job that waits out of its order. What its record says is the caller's to change.
local function stop_waiting(id, record)
  flush()
  local key, member = key_of(record), sub(record, 6, 17) .. id
  local own, turn = turns_of(key), unpack_bytes('>I6', record, 6)
  own.count = own.count - 1
  own.changed = true
  if own.count > 0 and own.high == turn then
    -- Another of theirs is the highest now: not far down, but how far depends on the others. Where it isn't among these, the next
    -- one of theirs comes a turn later than it might.
    local rank = call('ZRANK', waiting, member)
    local before = call('ZRANGE', waiting, math.max(rank - AT_ONCE, 0), rank)
    for index = #before - 1, 1, -1 do
      local other = call('HGET', jobs, sub(before[index], 13))
      if other and key_of(other) == key then
        own.high = unpack_bytes('>I6', other, 6)
        break
      end
    end
  end
  call('ZREM', waiting, member)
  lowest = {}
end

-- Lets those wait whose lease or delay is over.
local function advance()
  local lapsed = call('ZRANGE', times, 0, now, 'BYSCORE', 'LIMIT', 0, AT_ONCE, 'WITHSCORES')
  local ripe = call('ZRANGE', times, BAND, BAND + now, 'BYSCORE', 'LIMIT', 0, AT_ONCE, 'WITHSCORES')
  if #lapsed + #ripe == 0 then
    return
  end
  local due, ids = {}, {}
  for index = 1, #lapsed, 2 do
    due[#due + 1] = { id = lapsed[index], at = tonumber(lapsed[index + 1]) }
    ids[#ids + 1] = lapsed[index]
  end
  for index = 1, #ripe, 2 do
    due[#due + 1] = { id = ripe[index], at = tonumber(ripe[index + 1]) - BAND }
    ids[#ids + 1] = ripe[index]
  end
  table.sort(due, function(one, other) return one.at < other.at end)
  local known = read(jobs, ids)
  for _, job in ipairs(due) do
    local record = known[job.id]
    local state, attempt, rest = sub(record, 1, 1), sub(record, 2, 5), sub(record, 12)
    if state == 'L' then
      wait(job.id, 'R', attempt, unpack_bytes('>I6', record, 6), rest, key_of(record), job.at)
    else
      wait(job.id, 'W', attempt, nil, rest, key_of(record), job.at)
    end
  end
  flush()
end

-- The first moment of a band that is yet to come; nil where there is none.
local function first_of(band)
  local first = call('ZRANGE', times, band, band == 0 and '(' .. string.format('%.0f', BAND) or '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  return first[2] and tonumber(first[2]) - band
end

-- Writes what is left, and wakes claimers: where there is something to claim and was nothing, or where a delay or lease ends
-- sooner than they know.
local function finish()
  flush()
  write_turns()
  if wake or was_empty and call('ZCARD', waiting) > 0 then
    call('PUBLISH', ARGV[1], '')
  end
end

advance()
