-- Keep what an invocation has said since, and its state. What the server has lost of it is asked for again.
-- ARGV: id, owner, digest of its key or '', number of the last event that was kept, number of the first that is held,
--       count of entries, these (first number, count of events, block), fields and values
-- Returns the number of the last event that is kept now, or -1 if it is over or another replica's.

local id, owner, key = ARGV[1], ARGV[2], ARGV[3]
local after, first, count = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local record = base .. 'invocation:' .. id
local known = redis.call('HMGET', record, 'owner', 'finished_at', 'last')
if known[1] and (known[1] ~= owner or known[2]) then return -1 end
local last = tonumber(known[3] or 0)
redis.call('HSET', record, unpack(fields(7 + 3 * count)))
if not known[1] then
  redis.call('SADD', base .. 'owned:' .. owner, id)
  if key ~= '' then redis.call('SET', base .. 'key:' .. key, id, 'NX') end
end
if last < after and first <= after then -- from there on, please
  last = math.max(last, first - 1)
  redis.call('HSET', record, 'last', last)
  return last
end
last = add_entries(id, last, 7, count)
redis.call('XTRIM', base .. 'events:' .. id, 'MINID', first)
redis.call('HSET', record, 'last', last, 'first', first)
wake_watchers(id)
return last
