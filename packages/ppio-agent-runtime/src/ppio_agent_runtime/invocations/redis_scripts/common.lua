-- What all scripts share; each is loaded behind this. KEYS[1] is the prefix of all keys of one store, with its hash tag:
-- a Redis Cluster keeps them on one node, where a script may use them all.
--
-- invocation:<id>  hash: what is known of it     events:<id>    stream: a block of events an entry
-- watchers:<id>    hash: readers elsewhere       key:<digest>   id of the invocation with this idempotency key; it stays
--                                                when that one has to make room for others, which thus does not run again
-- owned:<replica>  set: ids of what runs there   inbox:<replica>  stream: what other replicas tell it
-- refused:<id>     it was, before it began; for a while
-- finished         zset: ids by time             sizes, bytes   what these take

local base = KEYS[1]

local function fields(from)
  local found = {}
  for at = from, #ARGV do found[#found + 1] = ARGV[at] end
  return found
end

local function tell(replica, ...)
  local inbox = base .. 'inbox:' .. replica
  redis.call('XADD', inbox, 'MAXLEN', '~', '10000', '*', ...)
  redis.call('EXPIRE', inbox, 60)
end

local function wake_watchers(id)
  local told = {}
  for _, reader in ipairs(redis.call('HKEYS', base .. 'watchers:' .. id)) do
    local replica = string.match(reader, '^[^/]*')
    if not told[replica] then
      told[replica] = true
      tell(replica, 'kind', 'events', 'id', id)
    end
  end
end

local function add_entries(id, last, from, count)
  for at = from, from + 3 * count - 1, 3 do
    local first, events = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    if first > last then
      redis.call('XADD', base .. 'events:' .. id, first .. '-0', 'n', ARGV[at + 1], 'b', ARGV[at + 2])
      last = first + events - 1
    end
  end
  return last
end

local function forget(id)
  local record = base .. 'invocation:' .. id
  local owner = redis.call('HGET', record, 'owner')
  if owner then redis.call('SREM', base .. 'owned:' .. owner, id) end
  redis.call('DEL', record, base .. 'events:' .. id, base .. 'watchers:' .. id)
  redis.call('ZREM', base .. 'finished', id)
  local size = redis.call('HGET', base .. 'sizes', id)
  if size then
    redis.call('HDEL', base .. 'sizes', id)
    redis.call('DECRBY', base .. 'bytes', size)
  end
end
