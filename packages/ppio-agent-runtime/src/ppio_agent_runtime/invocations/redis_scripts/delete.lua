-- Forget an invocation. Who follows it is told for a while that it was refused before it began. ARGV: id

wake_watchers(ARGV[1])
if redis.call('HEXISTS', base .. 'invocation:' .. ARGV[1], 'finished_at') == 0 then
  redis.call('SET', base .. 'refused:' .. ARGV[1], '1', 'EX', 30)
end
local key = redis.call('HGET', base .. 'invocation:' .. ARGV[1], 'key')
if key and redis.call('GET', base .. 'key:' .. key) == ARGV[1] then redis.call('DEL', base .. 'key:' .. key) end
forget(ARGV[1])
return 1
