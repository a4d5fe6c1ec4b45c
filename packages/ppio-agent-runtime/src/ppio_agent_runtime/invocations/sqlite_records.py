"""Tables of a store in SQLite, and the conversion of invocations to and from their rows."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any, Final

from ..http.sse import chunks_in
from .kept_log import Entry, HeldEvents
from .shared_store import LOST, NewEvents, Reading, RefusedError
from .store import INTERRUPTED, Answer, KeyScope, StoredInvocation, evicted, value_in

VERSION: Final = 2
"""Format of the tables, in the file's `user_version`."""
_COST_BYTES: Final = 1024
"""Bytes of a row besides its events and its body."""
_REFUSED_SECONDS: Final = 30.0
_COLUMNS: Final = (
    "id, owner, caller, session, key, fingerprint, state, form, request_id, session_id, created_at, started_at, "
    "finished_at, status, closing, headers, body, flags, first_id, last_id, size"
)
"""In the order of `_row` and `_stored`."""
SCHEMA: Final = (
    f"CREATE TABLE IF NOT EXISTS invocations ({_COLUMNS}, PRIMARY KEY (id))",
    "CREATE UNIQUE INDEX IF NOT EXISTS invocations_by_key ON invocations (caller, session, key) WHERE key IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS invocations_by_age ON invocations (finished_at, id DESC, size)",
    "CREATE INDEX IF NOT EXISTS invocations_running ON invocations (owner) WHERE finished_at IS NULL",
    "CREATE TABLE IF NOT EXISTS events (invocation, first_id, count, block, PRIMARY KEY (invocation, first_id))",
    "CREATE TABLE IF NOT EXISTS messages (replica, kind, invocation, reader, position)",
    "CREATE TABLE IF NOT EXISTS replicas (name PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS refused (id PRIMARY KEY, at)",
    "CREATE TABLE IF NOT EXISTS store (id TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS evicted_keys (caller, session, key, finished_at)",
    "CREATE INDEX IF NOT EXISTS evicted_keys_by_key ON evicted_keys (caller, session, key)",
    "CREATE INDEX IF NOT EXISTS evicted_keys_by_age ON evicted_keys (finished_at)",
    f"PRAGMA user_version = {VERSION}",
)
_BY_KEY: Final = "caller = ? AND session = ? AND key = ?"
_SELECT: Final = f"SELECT {_COLUMNS} FROM invocations WHERE "  # noqa: S608  # our own column names
_MARKS: Final = ", ".join("?" * len(_COLUMNS.split(",")))
_REPLACE: Final = f"INSERT OR REPLACE INTO invocations VALUES ({_MARKS})"  # noqa: S608  # only question marks
_APPEND: Final = """
UPDATE invocations SET state = ?, form = ?, started_at = ?, flags = ?, first_id = ?, last_id = ?
WHERE id = ? AND owner = ? AND finished_at IS NULL
"""
_EVENTS: Final = "SELECT first_id, count, block FROM events WHERE invocation = ? AND first_id + count > ? "
_KEPT: Final = "SELECT count(*), total(size) FROM invocations WHERE finished_at IS NOT NULL"
_OLDEST_FIRST: Final = """
SELECT id, finished_at, size FROM invocations WHERE finished_at IS NOT NULL ORDER BY finished_at, id DESC
"""
_REMEMBER: Final = """
INSERT INTO evicted_keys SELECT caller, session, key, finished_at FROM invocations WHERE id = ? AND key IS NOT NULL
"""
_FORGET_KEYS: Final = """
DELETE FROM evicted_keys WHERE finished_at < ? OR rowid <= (SELECT max(rowid) FROM evicted_keys) - ?
"""


def read(database: sqlite3.Connection, invocation_id: str) -> StoredInvocation | None:
    """Return an invocation with all its events."""
    row = database.execute(f"{_SELECT}id = ?", (invocation_id,)).fetchone()
    return None if row is None else _stored(row, entries(database, invocation_id))


def read_by_key(database: sqlite3.Connection, scope: KeyScope) -> StoredInvocation | None:
    """Return the invocation that has this idempotency key.

    Raises:
        EventsEvictedError: It is over, and had to make room for others.
    """
    row = database.execute(_SELECT + _BY_KEY, scope).fetchone()
    if row is not None:
        return _stored(row, entries(database, row[0]))
    if database.execute(f"SELECT 1 FROM evicted_keys WHERE {_BY_KEY}", scope).fetchone():  # noqa: S608  # our own condition
        raise evicted()
    return None


def reading(database: sqlite3.Connection, invocation_id: str, after: int, most: int) -> Reading | None:
    """Return an invocation with some of its events; see `SharedStore.read`."""
    row = database.execute(f"{_SELECT}id = ?", (invocation_id,)).fetchone()
    if row is None:
        if database.execute("SELECT 1 FROM refused WHERE id = ?", (invocation_id,)).fetchone():
            raise RefusedError
        return None
    stored = _stored(row, [])
    assert stored.events is not None
    return Reading(
        stored,
        stored.events,
        row[_COLUMNS.split(", ").index("first_id")],
        entries(database, invocation_id, after, most),
    )


def refuse(database: sqlite3.Connection, invocation_id: str) -> None:
    """Delete an invocation. For a while, those who follow one that has not ended learn that it was refused."""
    now = time.time()
    database.execute("DELETE FROM refused WHERE at < ?", (now - _REFUSED_SECONDS,))
    database.execute(
        "INSERT OR REPLACE INTO refused SELECT id, ? FROM invocations WHERE id = ? AND finished_at IS NULL",
        (now, invocation_id),
    )
    remove(database, invocation_id)


def entries(database: sqlite3.Connection, invocation_id: str, after: int = 0, most: int = -1) -> list[Entry]:
    """Return at most `most` blocks of events (-1: all), beginning with the one that has the event after `after`."""
    found = database.execute(f"{_EVENTS}ORDER BY first_id LIMIT ?", (invocation_id, after + 1, most))
    return [Entry(*row) for row in found]


def running_of(database: sqlite3.Connection, owner: str) -> list[StoredInvocation]:
    """Return the invocations that run in a process."""
    rows = database.execute(f"{_SELECT}finished_at IS NULL AND owner = ?", (owner,)).fetchall()
    return [_stored(row, entries(database, row[0])) for row in rows]


def write(database: sqlite3.Connection, stored: StoredInvocation, owner: str) -> None:
    """Write an invocation with exactly the events that it holds."""
    held = stored.events or HeldEvents([], 0, only_text=True)
    first_id = held.blocks[0][0] if held.blocks else held.last_id + 1
    database.execute(_REPLACE, _row(stored, owner, first_id, held))
    database.execute("DELETE FROM events WHERE invocation = ?", (stored.id,))
    _add_entries(database, stored.id, held.entries())


def append(database: sqlite3.Connection, stored: StoredInvocation, owner: str, new: NewEvents) -> int:
    """Add events to a running invocation, and write its state; see `SharedStore.append`."""
    last_id = new.entries[-1].first_id + new.entries[-1].event_count - 1 if new.entries else new.after
    flags = _flags(only_text=new.only_text, typed=new.typed)
    facts = stored.state, stored.form, stored.started_at, flags, new.first_id, last_id, stored.id, owner
    if not database.execute(_APPEND, facts).rowcount:
        return LOST
    _add_entries(database, stored.id, new.entries)
    database.execute("DELETE FROM events WHERE invocation = ? AND first_id < ?", (stored.id, new.first_id))
    return last_id


def _add_entries(database: sqlite3.Connection, invocation_id: str, new: list[Entry]) -> None:
    rows = [(invocation_id, *entry) for entry in new]
    database.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?)", rows)


def remove(database: sqlite3.Connection, invocation_id: str) -> None:
    """Delete an invocation and its events."""
    database.execute("DELETE FROM invocations WHERE id = ?", (invocation_id,))
    database.execute("DELETE FROM events WHERE invocation = ?", (invocation_id,))


def prune(database: sqlite3.Connection, bounds: tuple[float, int, int], most_keys: int) -> None:
    """Evict finished invocations beyond the limits, and remember their keys.

    Args:
        database: In a transaction.
        bounds: Oldest end that is kept in unix seconds, most invocations, most bytes.
        most_keys: How many keys of evicted ones are remembered.
    """
    oldest_allowed, most, most_bytes = bounds
    count, size = database.execute(_KEPT).fetchone()
    evicted_ids = []
    for invocation_id, finished_at, its_size in database.execute(_OLDEST_FIRST):
        if count <= most and size <= most_bytes and finished_at >= oldest_allowed:
            break
        evicted_ids.append(invocation_id)
        count, size = count - 1, size - its_size
    for invocation_id in evicted_ids:
        database.execute(_REMEMBER, (invocation_id,))
        remove(database, invocation_id)
    database.execute(_FORGET_KEYS, (oldest_allowed, most_keys))


def _row(stored: StoredInvocation, owner: str, first_id: int, held: HeldEvents) -> tuple[Any, ...]:
    """Return the values of an invocation's row."""
    status = closing = body = None
    headers = []
    if (answer := stored.answer) is not None:
        status, closing, body = answer.status, answer.envelope, answer.body
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    return (
        stored.id,
        owner,
        *(stored.scope or (None, None, None)),
        stored.fingerprint,
        stored.state,
        INTERRUPTED if stored.interrupted else stored.form,
        stored.request_id,
        stored.session_id,
        stored.created_at,
        stored.started_at,
        stored.finished_at,
        status,
        closing,
        json.dumps(headers),
        body,
        _flags(only_text=held.only_text, typed=held.typed),
        first_id,
        held.last_id,
        sum(len(block) for _, block in held.blocks) + len(body or b"") + _COST_BYTES,
    )


def _flags(*, only_text: bool, typed: bool) -> int:
    """Return both flags as one number."""
    return only_text + 2 * typed


def _stored(row: tuple[Any, ...], kept: list[Entry]) -> StoredInvocation:
    """Return the invocation in a row, with these events."""
    name, _, caller, session, key, fingerprint, state, form, request_id, session_id, *times, status, closing = row[:15]
    headers, body, flag, _, last_id, _ = row[15:]
    only_text, typed = bool(flag % 2), flag > 1
    blocks = [(entry.first_id, entry.block) for entry in kept]
    answer = None
    if closing is not None:
        chunks = chunks_in([block for _, block in blocks])
        value = value_in(chunks, form, typed=typed) if chunks else None
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(headers)]
        answer = Answer(status, closing, value, pairs, body)
    return StoredInvocation(
        id=name,
        scope=None if key is None else KeyScope(caller, session, key),
        fingerprint=fingerprint,
        state=state,
        form=None if form == INTERRUPTED else form,
        request_id=request_id,
        session_id=session_id,
        created_at=times[0],
        started_at=times[1],
        finished_at=times[2],
        interrupted=form == INTERRUPTED,
        answer=answer,
        events=HeldEvents(blocks, last_id, only_text=only_text, typed=typed),
    )
