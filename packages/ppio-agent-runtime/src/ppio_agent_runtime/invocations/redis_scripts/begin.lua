-- Keep an invocation that begins, unless its idempotency key is taken.
-- ARGV: store id, run id of the server, id, owner, digest of its key or '', fields and values
-- Returns '' if it was kept, the id of the invocation that has the key, '!' where that one had to make room for others, or
-- '?' where this is not the server that the caller knows: what had begun there may be lost.

local id, owner, key = ARGV[3], ARGV[4], ARGV[5]
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('GET', base .. 'store') ~= ARGV[1] or run_id ~= ARGV[2] then return '?' end
if key ~= '' then
  local taken = redis.call('GET', base .. 'key:' .. key)
  if taken and taken ~= id then return redis.call('EXISTS', base .. 'invocation:' .. taken) == 1 and taken or '!' end
  redis.call('SET', base .. 'key:' .. key, id)
end
redis.call('HSET', base .. 'invocation:' .. id, unpack(fields(6)))
redis.call('SADD', base .. 'owned:' .. owner, id)
return ''
