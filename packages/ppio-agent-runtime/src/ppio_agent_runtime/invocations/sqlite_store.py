"""Invocations on disk, so that they survive a restart of the process: `event_store="sqlite:///path"`.

One thread owns the database (stdlib sqlite3, write-ahead log); the event loop only hands it work. After a crash, the
next process reports the invocations that were running as failed with `Interrupted`.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import sqlite3
import time
import uuid
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from ppio_agent_models import ConfigurationError

from ..http.sse import chunks_in
from ..observability.logging import logger
from .kept_log import HeldEvents
from .store import (
    INTERRUPTED,
    REMEMBERED_KEYS,
    Answer,
    KeyScope,
    StoreBounds,
    StoredInvocation,
    StoreError,
    evicted,
    interrupted,
    value_in,
)

T = TypeVar("T")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""Linux: an ID that changes with each boot (random(4))."""
_PASSING_ERRORS: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT})
_PASSING_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
URL_PREFIX: Final = "sqlite:///"
_VERSION: Final = 1
_COST_BYTES: Final = 1024
"""Bytes of a row besides its events and its body."""
_COLUMNS: Final = (
    "id, caller, session, key, fingerprint, state, form, request_id, session_id, created_at, started_at, finished_at, "
    "status, closing, headers, body, only_text, first_id, last_id, events, size"
)
"""In the order of `_row` and `_stored`."""
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS invocations ({_COLUMNS}, PRIMARY KEY (id));
CREATE UNIQUE INDEX IF NOT EXISTS invocations_by_key ON invocations (caller, session, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS invocations_by_age ON invocations (finished_at);
CREATE TABLE IF NOT EXISTS store (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evicted_keys (caller, session, key, finished_at);
CREATE INDEX IF NOT EXISTS evicted_keys_by_key ON evicted_keys (caller, session, key);
CREATE INDEX IF NOT EXISTS evicted_keys_by_age ON evicted_keys (finished_at);
PRAGMA user_version = {_VERSION};
"""
_SELECT: Final = f"SELECT {_COLUMNS} FROM invocations WHERE "  # noqa: S608  # our own column names
_MARKS: Final = ", ".join("?" * len(_COLUMNS.split(",")))
_REPLACE: Final = f"INSERT OR REPLACE INTO invocations VALUES ({_MARKS})"  # noqa: S608  # only question marks
_EVICTED: Final = """
SELECT id FROM (
    SELECT id, finished_at, row_number() OVER newest AS place, sum(size) OVER newest AS bytes
    FROM invocations WHERE finished_at IS NOT NULL WINDOW newest AS (ORDER BY finished_at DESC, id)
) WHERE finished_at < ? OR place > ? OR bytes > ?
"""
_REMEMBER: Final = """
INSERT INTO evicted_keys SELECT caller, session, key, finished_at FROM invocations WHERE id = ? AND key IS NOT NULL
"""
_FORGET_KEYS: Final = """
DELETE FROM evicted_keys WHERE finished_at < ? OR rowid <= (SELECT max(rowid) FROM evicted_keys) - ?
"""


class SQLiteStore:
    """The database of one process; see `InvocationStore`.

    Args:
        url: `sqlite:///relative/path` or `sqlite:////absolute/path`.
        bounds: The limits.

    Raises:
        ConfigurationError: The URL is wrong.
    """

    def __init__(self, url: str, bounds: StoreBounds) -> None:
        if not url.startswith(URL_PREFIX) or len(url) == len(URL_PREFIX):
            raise ConfigurationError(f"event_store must be '{URL_PREFIX}path' or 'redis://host:port/0', not {url!r}.")
        self._path = Path(url.removeprefix(URL_PREFIX))
        self._bounds = bounds
        self._executor: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None  # of the executor's one thread
        self._finalizer: weakref.finalize[..., SQLiteStore] | None = None
        self.failure: str | None = None
        self.instance_id: str | None = None

    async def open(self) -> None:
        """Open the database, and mark invocations that were running when it was last used as interrupted.

        Raises:
            ConfigurationError: The file can't be used, or another process uses it.
            StoreError: The disk is full, or the database is damaged.
        """
        if self._database is None:
            self._executor = self._executor or ThreadPoolExecutor(1, "agent-event-store")
            await asyncio.get_running_loop().run_in_executor(self._executor, self._open)

    async def begin(self, stored: StoredInvocation) -> StoredInvocation | None:
        """Write a new invocation, unless its key is taken. Returns when that is committed."""
        return await self._write(stored, claims=True)

    async def finish(self, stored: StoredInvocation) -> StoredInvocation | None:
        """Write a finished invocation, replacing its row. Returns when that is committed."""
        return await self._write(stored)

    async def delete(self, invocation_id: str) -> None:
        """Delete an invocation."""
        await self._ask(lambda database: database.execute("DELETE FROM invocations WHERE id = ?", (invocation_id,)))

    async def get(self, invocation_id: str) -> StoredInvocation | None:
        """Return the invocation with this ID; see `InvocationStore`."""
        found = await self._ask(lambda database: _read(database, "id = ?", (invocation_id,)))
        return found[0] if found else None

    async def get_by_key(self, scope: KeyScope) -> StoredInvocation | None:
        """Return the invocation with this idempotency key."""
        return await self._ask(lambda database: _read_by_key(database, scope))

    async def close(self) -> None:
        """Finish pending writes, and close the database."""
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.get_running_loop().run_in_executor(executor, self._close)
            executor.shutdown()

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function in one transaction in the database's thread, commit, and return its result.

        Raises:
            StoreError: The database cannot be used.
        """

        def ask() -> T:
            if self._database is None:
                raise StoreError(self.failure or "it is closed")
            try:
                with self._database as database:
                    return question(database)
            except (sqlite3.Error, OSError) as error:
                raise self._failed(error) from error

        if self._executor is None:
            raise StoreError("it is closed")
        return await asyncio.get_running_loop().run_in_executor(self._executor, ask)

    def _failed(self, error: sqlite3.Error | OSError) -> StoreError:
        """Record that the database cannot be used; log it the first time."""
        reason = str(getattr(error, "strerror", None) or error)
        if self.failure is None:
            what = "The event store %r cannot be used: %s. Durable calls are refused until it works again."
            logger.error(what, str(self._path), reason)
        self.failure = reason
        return StoreError(reason)

    async def _write(self, stored: StoredInvocation, *, claims: bool = False) -> StoredInvocation | None:
        def write(database: sqlite3.Connection) -> StoredInvocation | None:
            taken = _read_by_key(database, stored.scope) if claims and stored.scope is not None else None
            if taken is None:
                database.execute(_REPLACE, _row(stored))
                if not claims:
                    self._prune(database)
            return taken

        taken = await self._ask(write)
        if self.failure is not None:
            self.failure = None
            logger.info("The event store %r is available again.", str(self._path))
        return taken

    def _open(self) -> None:
        if self._database is not None:  # by another request meanwhile
            return
        database = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _make_private(self._path)
            database = sqlite3.connect(self._path, timeout=1.0, check_same_thread=False)
            self._prepare(database)
            instance_id = self._instance_id(database)
        except (sqlite3.Error, OSError) as error:
            if database is not None:
                database.close()
            if self._may_pass(error):
                raise self._failed(error) from error
            reason = "another process uses it" if "locked" in str(error) else str(error)
            raise ConfigurationError(f"event_store {str(self._path)!r} cannot be used: {reason}.") from error
        self._database, self.failure, self.instance_id = database, None, instance_id
        # An app without a running lifespan is never closed, and Python 3.13 warns about databases that are left open.
        self._finalizer = weakref.finalize(self, database.close)
        self._finalizer.atexit = False

    def _may_pass(self, error: sqlite3.Error | OSError) -> bool:
        """Return whether the disk or the database is at fault, not the setting: then the agent starts without it."""
        if not isinstance(error, sqlite3.Error):
            return error.errno in _PASSING_ERRNOS
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without its extension
        return code in _PASSING_ERRORS or (code == sqlite3.SQLITE_NOTADB and _was_database(self._path))

    def _prepare(self, database: sqlite3.Connection) -> None:
        # Exclusive: with two processes on one file, each would mark the other's running invocations as interrupted.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA journal_size_limit = 8388608")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise OSError(f"it was written by another version of this package (format {version})")
        database.executescript(_SCHEMA)
        with database:
            for running in _read(database, "finished_at IS NULL"):
                database.execute(_REPLACE, _row(interrupted(running)))
            self._prune(database)

    def _instance_id(self, database: sqlite3.Connection) -> str | None:
        """Return an ID of this file since the last boot, or None if the system has no boot ID.

        A power cut may lose the last commits (`synchronous = NORMAL`), and a copy of the file misses later ones:
        neither may have the ID of the store that had them.
        """
        with database:
            database.execute("INSERT INTO store SELECT ? WHERE NOT EXISTS (SELECT 1 FROM store)", (uuid.uuid4().hex,))
            (store_id,) = database.execute("SELECT id FROM store").fetchone()
        if not _BOOT_ID.exists():
            return None
        file = self._path.stat()
        facts = f"{store_id} {file.st_dev} {file.st_ino} {_BOOT_ID.read_text()}"
        return hashlib.sha256(facts.encode()).hexdigest()[:32]

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            if self._finalizer is not None:
                self._finalizer.detach()
            with suppress(sqlite3.Error):
                database.close()

    def _prune(self, database: sqlite3.Connection) -> None:
        bounds = self._bounds
        oldest_allowed = time.time() - bounds.max_age_seconds
        ids = database.execute(_EVICTED, (oldest_allowed, bounds.max_invocations, bounds.max_bytes)).fetchall()
        database.executemany(_REMEMBER, ids)
        database.executemany("DELETE FROM invocations WHERE id = ?", ids)
        database.execute(_FORGET_KEYS, (oldest_allowed, REMEMBERED_KEYS))


def _make_private(path: Path) -> None:
    """Make the file readable only for its owner, as it has callers' results; SQLite gives `-wal` the same mode."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


def _was_database(path: Path) -> bool:
    """Return whether a file begins with SQLite's header (file format, section 1.3), or with zeros of a lost block."""
    with path.open("rb") as file:
        return file.read(16).strip(b"\0") in (b"SQLite format 3", b"")


def _read(database: sqlite3.Connection, condition: str, values: tuple[str, ...] = ()) -> list[StoredInvocation]:
    return [_stored(*row) for row in database.execute(_SELECT + condition, values)]


def _read_by_key(database: sqlite3.Connection, scope: KeyScope) -> StoredInvocation | None:
    condition = "caller = ? AND session = ? AND key = ?"
    found = _read(database, condition, scope)
    if not found and database.execute(f"SELECT 1 FROM evicted_keys WHERE {condition}", scope).fetchone():  # noqa: S608  # our own condition
        raise evicted()
    return found[0] if found else None


def _row(stored: StoredInvocation) -> tuple[Any, ...]:
    """Return the values of an invocation's row."""
    blocks, last_id, only_text, typed = stored.events or HeldEvents([], 0, only_text=True)
    events = b"".join([block for _, block in blocks])
    status = closing = body = None
    headers = []
    if (answer := stored.answer) is not None:
        status, closing, body = answer.status, answer.envelope, answer.body
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    return (
        stored.id,
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
        only_text + 2 * typed,  # two flags
        blocks[0][0] if blocks else last_id + 1,
        last_id,
        events,
        len(events) + len(body or b"") + _COST_BYTES,
    )


def _stored(*row: Any) -> StoredInvocation:
    """Return the invocation in a row."""
    name, caller, session, key, fingerprint, state, form, request_id, session_id, *times, status, closing = row[:14]
    headers, body, only_text, first_id, last_id, events, _ = row[14:]
    answer = None
    if closing is not None:
        value = value_in(chunks_in([events]), form, typed=only_text > 1)
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
        events=HeldEvents(
            [(first_id, events)] if events else [], last_id, only_text=bool(only_text % 2), typed=only_text > 1
        ),
    )
