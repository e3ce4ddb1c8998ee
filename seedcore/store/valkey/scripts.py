"""The scripts that run inside the engine, each of which is done whole or not at all, and lands in its file so.

A write keeps its answer under its request in the same script (RIFL, see `seedcore.store.sqlite.request_log`), so that
one that is sent again changes nothing. All keys of a script have the same hash tag, so a cluster has them in one slot.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from seedcore.store.valkey.envelope import PIECES_SIGN
from seedcore.store.valkey.refusals import GIVEN_UP, NO_PIECES

# KEYS[1] is the hash of a client's requests; ARGV[1] the number, ARGV[2] the lowest that is waited for, ARGV[3] for how
# many milliseconds it is known. Repeating a request writes as well, so that WAIT waits for it.
ONCE: Final = f"""
local requests, number = KEYS[1], ARGV[1]
local function once()
  local known = redis.call('HMGET', requests, 'first', number)
  local first = tonumber(known[1] or '0')
  if known[2] and known[2] ~= '{GIVEN_UP}' then
    redis.call('PEXPIRE', requests, ARGV[3])
    return known[2]
  end
  if known[2] or tonumber(number) < first then return redis.error_reply('{GIVEN_UP}') end
end
local function done(answer)
  local first = redis.call('HGET', requests, 'first')
  if not first or tonumber(first) < tonumber(ARGV[2]) then
    redis.call('HSET', requests, 'first', ARGV[2], number, answer)
    if redis.call('HLEN', requests) > 32 then
      for _, field in ipairs(redis.call('HKEYS', requests)) do
        if field ~= 'first' and tonumber(field) < tonumber(ARGV[2]) then redis.call('HDEL', requests, field) end
      end
    end
  else
    redis.call('HSET', requests, number, answer)
  end
  redis.call('PEXPIRE', requests, ARGV[3])
  return answer
end
-- Where the pieces of a value's arrays are: the name, and how many there are.
local function pieces_of(head)
  if head and string.sub(head, 1, 1) == '{PIECES_SIGN}' then
    return string.sub(head, 2, 33), tonumber(string.sub(head, 34, 38))
  end
end
-- A piece that is elsewhere already, while its slot moves, ends by its own time to live.
local function unlink_pieces(prefix, head)
  local name, count = pieces_of(head)
  for piece = 1, count or 0 do pcall(redis.call, 'UNLINK', prefix .. name .. ':' .. (piece - 1)) end
end
"""

# What bounds the shared items: KEYS from `base` on are uses (a sorted set), sizes and totals (hashes), times (a sorted
# set of when they expire).
BOUNDS: Final = """
local uses, sizes, totals, times = KEYS[base], KEYS[base + 1], KEYS[base + 2], KEYS[base + 3]
local function forget(item_id)
  redis.call('ZREM', uses, item_id)
  redis.call('ZREM', times, item_id)
  local size = redis.call('HGET', sizes, item_id)
  if not size then return end
  redis.call('HDEL', sizes, item_id)
  redis.call('HINCRBY', totals, 'items', -1)
  redis.call('HINCRBY', totals, 'bytes', -tonumber(size))
end
local function sweep()
  local time = redis.call('TIME')
  local due = redis.call('ZRANGEBYSCORE', times, '-inf', time[1] * 1000 + math.floor(time[2] / 1000), 'LIMIT', 0, 1000)
  for _, item_id in ipairs(due) do forget(item_id) end
  if #due > 0 then redis.call('HINCRBY', totals, 'expirations', #due) end
end
"""

# ARGV[4] milliseconds to live or 0, ARGV[5] before a piece's key, ARGV[6] how many items, then their values. KEYS[2..]
# are the items.
SET: Final = f"""
{ONCE}
local known = once()
if known then return known end
local ttl_ms, prefix, count = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local heads = {{}}
for item = 1, count do
  heads[item] = redis.call('GETRANGE', KEYS[1 + item], 0, 37)
  local name, pieces = pieces_of(string.sub(ARGV[6 + item], 1, 38))
  for piece = 1, pieces or 0 do
    if redis.call('EXISTS', prefix .. name .. ':' .. (piece - 1)) == 0 then
      return redis.error_reply('{NO_PIECES}')
    end
  end
end
for item = 1, count do
  local value = ARGV[6 + item]
  local name, pieces = pieces_of(string.sub(value, 1, 38))
  if ttl_ms > 0 then
    redis.call('SET', KEYS[1 + item], value, 'PX', ttl_ms)
    -- A reader that has seen the item can still have its arrays.
    for piece = 1, pieces or 0 do redis.call('PEXPIRE', prefix .. name .. ':' .. (piece - 1), ttl_ms + 600000) end
  else
    redis.call('SET', KEYS[1 + item], value)
    for piece = 1, pieces or 0 do redis.call('PERSIST', prefix .. name .. ':' .. (piece - 1)) end
  end
  unlink_pieces(prefix, heads[item])
end
"""
SET_ITEMS: Final = f"{SET} return done('')"

# After the values: how many items and bytes there may be, before an item's key, then each item's id and its bytes.
SET_BOUNDED: Final = f"""
{SET}
local base = 2 + count
{BOUNDS}
sweep()
local max_items, max_bytes, before = tonumber(ARGV[7 + count]), tonumber(ARGV[8 + count]), ARGV[9 + count]
local added, bytes = 0, 0
local time = redis.call('TIME')
for item = 1, count do
  local item_id, size = ARGV[8 + count + 2 * item], tonumber(ARGV[9 + count + 2 * item])
  forget(item_id)
  redis.call('HSET', sizes, item_id, size)
  redis.call('ZADD', uses, redis.call('HINCRBY', totals, 'use', 1), item_id)
  if ttl_ms > 0 then
    redis.call('ZADD', times, time[1] * 1000 + math.floor(time[2] / 1000) + ttl_ms, item_id)
  end
  added, bytes = added + 1, bytes + size
end
local items_now = redis.call('HINCRBY', totals, 'items', added)
local bytes_now = redis.call('HINCRBY', totals, 'bytes', bytes)
done('')
while items_now > max_items or bytes_now > max_bytes do
  local oldest = redis.call('ZRANGE', uses, 0, 0)[1]
  if not oldest then break end
  local is_here, head = pcall(redis.call, 'GETRANGE', before .. oldest, 0, 37)
  -- Where its slot moves, the next set evicts.
  if not is_here or not pcall(redis.call, 'UNLINK', before .. oldest) then break end
  unlink_pieces(prefix, head)
  bytes_now, items_now = bytes_now - tonumber(redis.call('HGET', sizes, oldest) or 0), items_now - 1
  forget(oldest)
  redis.call('HINCRBY', totals, 'evictions', 1)
end
return ''
"""

# ARGV[4] before a piece's key, ARGV[5] how many items. Answers a 1 for each that was there, else a 0.
DELETE: Final = f"""
{ONCE}
local known = once()
if known then return known end
local prefix, count, answer = ARGV[4], tonumber(ARGV[5]), {{}}
local heads = {{}}
for item = 1, count do heads[item] = redis.call('GETRANGE', KEYS[1 + item], 0, 37) end
for item = 1, count do
  answer[item] = redis.call('UNLINK', KEYS[1 + item])
  unlink_pieces(prefix, heads[item])
end
"""
DELETE_ITEMS: Final = f"{DELETE} return done(table.concat(answer))"
# Then the item's ids.
DELETE_BOUNDED: Final = f"""
{DELETE}
local base = 2 + count
{BOUNDS}
sweep()
for item = 1, count do forget(ARGV[5 + item]) end
return done(table.concat(answer))
"""

# KEYS[1] is the hash of a client's requests. ARGV[1] is for how many milliseconds it is known that the others, numbers
# of some, are not done any more. What comes first passes when the memory is full, and so does the rest.
GIVE_UP: Final = f"""
redis.call('PEXPIRE', KEYS[1], ARGV[1])
for number = 2, #ARGV do redis.call('HSETNX', KEYS[1], ARGV[number], '{GIVEN_UP}') end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return ''
"""

# KEYS are those of BOUNDS; ARGV are ids of items, the last used last.
TOUCH: Final = f"""
local base = 1
{BOUNDS}
for _, item_id in ipairs(ARGV) do
  redis.call('ZADD', uses, 'XX', redis.call('HINCRBY', totals, 'use', 1), item_id)
end
return ''
"""

# KEYS are those of BOUNDS. Answers the totals.
SWEEP: Final = f"""
local base = 1
{BOUNDS}
sweep()
return redis.call('HGETALL', totals)
"""

# The Space-Saving algorithm, see `seedcore.store.sqlite.miss_store`. KEYS[2..4] are counts (a sorted set of negative
# numbers, so that ties are in the order of the ids), overcounts and totals (hashes). ARGV[4] is how many items are
# counted, then each id and how often it was missed.
RECORD: Final = f"""
{ONCE}
local known = once()
if known then return known end
local counts, overcounts, totals, max_items = KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[4])
for at = 5, #ARGV, 2 do
  local item_id, times = ARGV[at], tonumber(ARGV[at + 1])
  redis.call('HINCRBY', totals, 'misses', times)
  if redis.call('ZSCORE', counts, item_id) then
    redis.call('ZINCRBY', counts, -times, item_id)
  else
    local dropped = tonumber(redis.call('HGET', totals, 'highest_dropped') or '0')
    local surplus = redis.call('ZCARD', counts) + 1 - max_items
    if surplus > 0 then
      local smallest = redis.call('ZREVRANGE', counts, 0, surplus - 1, 'WITHSCORES')
      for place = 1, #smallest, 2 do
        redis.call('ZREM', counts, smallest[place])
        redis.call('HDEL', overcounts, smallest[place])
        dropped = math.max(dropped, -tonumber(smallest[place + 1]))
      end
      redis.call('HSET', totals, 'highest_dropped', dropped)
      redis.call('HINCRBY', totals, 'evictions', surplus)
    end
    redis.call('ZADD', counts, -(dropped + times), item_id)
    if dropped > 0 then redis.call('HSET', overcounts, item_id, dropped) end
  end
end
return done('')
"""

# KEYS are counts and overcounts, ARGV[1] is the last place. Answers an item's id, its negative number, its overcount,
# then those of the next one.
TOP: Final = """
local found, answer = redis.call('ZRANGE', KEYS[1], 0, ARGV[1], 'WITHSCORES'), {}
for place = 1, #found, 2 do
  answer[#answer + 1] = found[place]
  answer[#answer + 1] = found[place + 1]
  answer[#answer + 1] = redis.call('HGET', KEYS[2], found[place]) or '0'
end
return answer
"""

ALL: Final = (SET_ITEMS, SET_BOUNDED, DELETE_ITEMS, DELETE_BOUNDED, GIVE_UP, TOUCH, SWEEP, RECORD, TOP)
_DIGESTS: Final = {script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest() for script in ALL}


def call(script: str, keys: Sequence[bytes], *arguments: Any) -> tuple[Any, ...]:
    """The command that runs one of `ALL`.

    Args:
        script: which.
        keys: that it is about.
        arguments: bytes, text or numbers.
    """
    return ("EVALSHA", _DIGESTS[script], len(keys), *keys, *arguments)
