-- Keep an invocation that is over, and let the oldest go where bounds are passed.
-- ARGV: id, owner, who ends it, digest of its key or '', number of the last event that is kept as that one knows,
--       most invocations, most bytes, longest age in ms, size, number of the first event that is held,
--       count of entries, these (first number, count of events, block), fields and values
-- Returns 1 if it was kept, 0 if another has ended it or has added to it, 2 if all its events are needed again.

local id, owner, by, key = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local expected, most, most_bytes, age = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local size, first, count = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local record, events = base .. 'invocation:' .. id, base .. 'events:' .. id
local known = redis.call('HMGET', record, 'owner', 'finished_at', 'last', 'by')
if known[2] then return known[4] == by and 1 or 0 end
if known[1] and known[1] ~= owner then return 0 end
local last = tonumber(known[3] or 0)
if by ~= owner and (not known[1] or last ~= expected) then return 0 end
if last < expected then return 2 end

last = add_entries(id, last, 12, count)
redis.call('XTRIM', events, 'MINID', first)
redis.call('HSET', record, 'by', by, 'last', last, 'first', first, unpack(fields(12 + 3 * count)))
local had = redis.call('HGET', record, 'key')
if key == '' and had then
  if redis.call('GET', base .. 'key:' .. had) == id then redis.call('DEL', base .. 'key:' .. had) end
  redis.call('HDEL', record, 'key', 'scope')
elseif key ~= '' then
  redis.call('SET', base .. 'key:' .. key, id, 'NX')
  if redis.call('GET', base .. 'key:' .. key) == id then redis.call('PEXPIRE', base .. 'key:' .. key, age) end
end
redis.call('PEXPIRE', record, age)
redis.call('PEXPIRE', events, age)
redis.call('SREM', base .. 'owned:' .. owner, id)
wake_watchers(id)
redis.call('DEL', base .. 'watchers:' .. id)

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZADD', base .. 'finished', string.format('%.0f', now), id)
redis.call('HSET', base .. 'sizes', id, size)
redis.call('INCRBY', base .. 'bytes', size)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', base .. 'finished', '-inf', string.format('(%.0f', now - 1000 * age))) do
  forget(old)
end
while redis.call('ZCARD', base .. 'finished') > most or tonumber(redis.call('GET', base .. 'bytes')) > most_bytes do
  local oldest = redis.call('ZRANGE', base .. 'finished', 0, 0)[1]
  if not oldest then break end
  forget(oldest)
end
return 1
