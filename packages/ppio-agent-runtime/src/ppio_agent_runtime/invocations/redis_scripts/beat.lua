-- Say that a replica is alive. ARGV: name of the replica, its life in ms, an id for a new store
-- Returns the store's id and the run id of the server, which differs after each of its starts and in each of its replicas

local replica = ARGV[1]
redis.call('SET', base .. 'store', ARGV[3], 'NX')
redis.call('SET', base .. 'alive:' .. replica, '1', 'PX', ARGV[2])
redis.call('SADD', base .. 'replicas', replica)
return { redis.call('GET', base .. 'store'), string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') }
