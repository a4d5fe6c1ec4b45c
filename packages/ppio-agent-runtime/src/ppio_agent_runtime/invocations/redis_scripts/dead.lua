-- Return a replica that is not alive any more and the ids of what ran there, after forgetting one of which nothing is left.

for _, replica in ipairs(redis.call('SMEMBERS', base .. 'replicas')) do
  if redis.call('EXISTS', base .. 'alive:' .. replica) == 0 then
    local ids = redis.call('SMEMBERS', base .. 'owned:' .. replica)
    for at = #ids, 1, -1 do
      if redis.call('HEXISTS', base .. 'invocation:' .. ids[at], 'owner') == 0 then
        redis.call('SREM', base .. 'owned:' .. replica, ids[at])
        table.remove(ids, at)
      end
    end
    if #ids > 0 then return { replica, unpack(ids, 1, math.min(#ids, 1000)) } end
    redis.call('SREM', base .. 'replicas', replica)
    redis.call('DEL', base .. 'inbox:' .. replica)
  end
end
return {}
