-- Tell the replica where an invocation runs what a caller elsewhere does.
-- ARGV: id, kind ('read', 'left' or 'cancel'), name of the reader, number of the last event that it was sent

local id, kind, reader, position = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local owner, finished_at = unpack(redis.call('HMGET', base .. 'invocation:' .. id, 'owner', 'finished_at'))
local watchers = base .. 'watchers:' .. id
if kind == 'left' then redis.call('HDEL', watchers, reader) end
if not owner or finished_at then return 0 end
if kind == 'read' then redis.call('HSET', watchers, reader, position) end
tell(owner, 'kind', kind, 'id', id, 'reader', reader, 'position', position)
return 1
