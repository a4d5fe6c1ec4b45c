-- Return an invocation, some of its events, and whether it was refused. ARGV: id, number of the event after which, most entries (0 for none)

local id, after, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local events, entries = base .. 'events:' .. id, {}
if most > 0 then
  local begin = redis.call('XREVRANGE', events, (after + 1) .. '-0', '-', 'COUNT', 1)[1]
  entries = redis.call('XRANGE', events, begin and begin[1] or '-', '+', 'COUNT', most)
end
return { redis.call('HGETALL', base .. 'invocation:' .. id), entries, redis.call('EXISTS', base .. 'refused:' .. id) }
