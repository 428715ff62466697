-- What `push.lua` and `step.lua` begin with.
--
-- KEYS
--   1  jobs     hash    id -> record
--   2  waiting  zset    -priority: turn, arrival, id      in the order in which they're served
--   3  times    zset    moment: id                        see DELAYED
--   4  owners   hash    priority, owner -> the highest turn of those of theirs that wait, and how many wait
--   5  arrivals string  how many calls have brought jobs
-- ARGV
--   1  the channel that claimers hear of
--
-- A record is 6 bytes for its turn, 8 for its arrival (5 the call that brought it, 3 its place in that), 4 for its attempt, 2 for its priority,
-- its owner's name, the 8 of its token where it has one, and one for its state. Numbers have the most significant byte first: as text
-- they're in their order. States:
--   D  delayed    W  waits, never claimed    L  leased    R  waits again: its lease has lapsed, and its holder may still extend
--
-- What is done for each job is most of what this costs, and making strings is most of that: hence the few cuts and no number that
-- redis.call would have to make text of.
local jobs, waiting, times, owners, arrivals = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call, char, byte, sub = redis.call, string.char, string.byte, string.sub
local pack, parse = struct.pack, struct.unpack
local WAITS, AGAIN, LEASED = byte('W'), byte('R'), byte('L')

-- Moments are units of 10 microseconds of the server's clock: ten digits of seconds and five more. A digit before those tells apart, in
-- one set, when a lease is over (none), when a delay is over, and since when a job waits. A double counts that far one by one.
local DELAYED, WAITING = 1e15, 2e15

local now_text, now
local function tick()
  local clock = call('TIME')
  now_text = clock[1] .. sub('000000' .. clock[2], -6, -2)
  now = tonumber(now_text)
end

-- Each job has a record and a moment, and each that waits its place in the order. Where a server throws keys away, or somebody else was
-- at them, what is left would keep jobs from being claimed and from being pushed again: then all goes, and a sweep brings it back. It's
-- looked for where there's nothing to claim, and where a job is pushed that is known.
local function mend()
  if call('HLEN', jobs) ~= call('ZCARD', times) or call('ZCARD', waiting) ~= call('ZCOUNT', times, '2e15', '+inf') then
    call('UNLINK', jobs, waiting, times, owners)
    return true
  end
end

-- Whether claimers are to hear of this: there is something to claim and was nothing, or a delay or a lease ends sooner than they know.
local was_empty, wake = false, false

-- Whether it's known that nothing waited: then no owner has a turn, and no priority a lowest.
local none_waits = false

local function moment(at)
  return string.format('%.0f', at)
end

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

-- Changes that are yet to be written. Two of one job are in their order.
local records, moments, served = {}, {}, {}
local function write_record(id, record, at)
  local place = #records
  records[place + 1], records[place + 2] = id, record
  moments[place + 1], moments[place + 2] = at, id
end

local function flush()
  each('HSET', jobs, records)
  each('ZADD', times, moments)
  each('ZADD', waiting, served)
  records, moments, served = {}, {}, {}
end

local function has_token(record)
  local state = byte(record, -1)
  return state == LEASED or state == AGAIN
end

local function does_wait(record)
  local state = byte(record, -1)
  return state == WAITS or state == AGAIN
end

-- A record without token and state. From its 19th byte on it's the key in `owners`.
local function body_of(record)
  return sub(record, 1, has_token(record) and -10 or -2)
end

-- Owners' turns by key, as they are now; those that have changed are written at the end.
local turns = {}
local function known_turns(key, packed)
  local own = { high = 0, count = 0, score = moment(-parse('>i2', key)) }
  if packed then
    own.high, own.count = parse('>I6I4', packed)
  end
  turns[key] = own
  return own
end

local function turns_of(key)
  return turns[key] or known_turns(key, not none_waits and call('HGET', owners, key))
end

local function read_turns(keys)
  for key, packed in pairs(read(owners, keys)) do
    if not turns[key] then
      known_turns(key, packed)
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
  local low = lowest[score]
  if low == nil then
    local first = not none_waits and call('ZRANGE', waiting, score, score, 'BYSCORE', 'LIMIT', '0', '1')[1]
    low = first and parse('>I6', first) or false
    lowest[score] = low
  end
  return low
end

-- A turn as 6 bytes. Turns of one call are close to each other.
local highs = {}
local function packed(turn)
  local low = turn % 256
  local high = (turn - low) / 256
  local text = highs[high]
  if not text then
    text = pack('>I5', high)
    highs[high] = text
  end
  return text .. char(low)
end

-- Lets a job wait, by this turn or, with none, by its owner's next. The rest is what of its record comes after the arrival: attempt and
-- key, and then the tail.
local function wait(id, own, turn, arrival, rest, tail, since)
  local score, high = own.score, own.count > 0 and own.high or -1
  local low = lowest_of(score)
  if not turn then
    turn = high + 1
    if low and low > turn then
      turn = low
    end
  end
  own.high = turn > high and turn or high
  own.count = own.count + 1
  own.changed = true
  if not low then
    -- The first of its priority; of all?
    was_empty = was_empty or call('ZCARD', waiting) == 0
  end
  if not low or turn < low then
    lowest[score] = turn
  end
  local order = packed(turn) .. arrival
  write_record(id, order .. rest .. tail, since)
  local place = #served
  served[place + 1], served[place + 2] = score, order .. id
end

-- Takes a job that waits out of its order. What its record says then is the caller's to change.
local function stop_waiting(id, record)
  flush()
  local body = body_of(record)
  local key, member = sub(body, 19), sub(body, 1, 14) .. id
  local own, turn = turns_of(key), parse('>I6', body)
  own.count = own.count - 1
  own.changed = true
  if own.count > 0 and own.high == turn then
    -- Another of theirs is the highest now: of the same turn, or not far down. How far depends on the other owners; where it isn't among
    -- these, the next one of theirs comes a turn later than it might.
    local rank = call('ZRANK', waiting, member) or 0
    local near = call('ZRANGE', waiting, math.max(rank - 1000, 0), rank + 100)
    for index = #near, 1, -1 do
      local other = near[index] ~= member and call('HGET', jobs, sub(near[index], 15))
      if other and sub(body_of(other), 19) == key then
        own.high = parse('>I6', other)
        break
      end
    end
  end
  call('ZREM', waiting, member)
  lowest, none_waits = {}, false
end

-- Lets those wait whose lease or delay is over; not too many in one call, some milliseconds' work.
local function advance()
  local lapsed = call('ZRANGE', times, '0', now_text, 'BYSCORE', 'LIMIT', '0', '1000', 'WITHSCORES')
  local ripe = call('ZRANGE', times, '1e15', '1' .. now_text, 'BYSCORE', 'LIMIT', '0', '1000', 'WITHSCORES')
  if #lapsed + #ripe == 0 then
    return
  end
  local due, ids = {}, {}
  for index = 1, #lapsed, 2 do
    due[#due + 1] = { id = lapsed[index], at = tonumber(lapsed[index + 1]) }
    ids[#ids + 1] = lapsed[index]
  end
  for index = 1, #ripe, 2 do
    due[#due + 1] = { id = ripe[index], at = tonumber(ripe[index + 1]) - DELAYED }
    ids[#ids + 1] = ripe[index]
  end
  table.sort(due, function(one, other) return one.at < other.at end)
  local known = read(jobs, ids)
  for _, job in ipairs(due) do
    local record = known[job.id]
    if record then
      local body, since = body_of(record), moment(WAITING + job.at)
      local own, arrival, rest = turns_of(sub(body, 19)), sub(body, 7, 14), sub(body, 15)
      if has_token(record) then
        wait(job.id, own, parse('>I6', body), arrival, rest, sub(record, -9, -2) .. 'R', since)
      else
        wait(job.id, own, nil, arrival, rest, 'W', since)
      end
    else
      -- Somebody else was at the keys.
      call('ZREM', times, job.id)
    end
  end
  flush()
end

-- The first end of a lease (from 0) or a delay (from DELAYED) that is yet to come; math.huge where there is none.
local function first_of(band)
  local from, to = '0', '(1e15'
  if band == DELAYED then
    from, to = '1e15', '(2e15'
  end
  local first = call('ZRANGE', times, from, to, 'BYSCORE', 'LIMIT', '0', '1', 'WITHSCORES')
  return first[2] and tonumber(first[2]) - band or math.huge
end

-- Writes what is left, and wakes claimers.
local function finish()
  local waits = #served > 0
  flush()
  write_turns()
  if wake or was_empty and (waits or call('EXISTS', waiting) == 1) then
    call('PUBLISH', ARGV[1], '')
  end
end
