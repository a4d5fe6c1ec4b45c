"""Finished invocations on disk, so that they survive a restart of the process: `event_store="sqlite:///path"`.

One thread owns the database (stdlib sqlite3, write-ahead log); the event loop only hands it work. What was running when
the process died is found by the next one, and told as failed with `Interrupted`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from ppio_agent_models import ConfigurationError

logger = logging.getLogger("ppio_agent_runtime")

T = TypeVar("T")
URL_PREFIX: Final = "sqlite:///"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS invocations (
    id TEXT PRIMARY KEY, caller TEXT, session TEXT, key TEXT, fingerprint BLOB NOT NULL, state TEXT NOT NULL,
    created_at REAL NOT NULL, started_at REAL, finished_at REAL, status INTEGER, closing BLOB, result BLOB,
    headers TEXT, only_text INTEGER, request_id TEXT NOT NULL, session_id TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS invocations_by_key ON invocations (caller, session, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS invocations_by_age ON invocations (finished_at);
CREATE TABLE IF NOT EXISTS events (
    invocation TEXT NOT NULL REFERENCES invocations (id) ON DELETE CASCADE, number INTEGER NOT NULL,
    event BLOB NOT NULL, PRIMARY KEY (invocation, number)
) WITHOUT ROWID;
"""
_COLUMNS = (
    "id, caller, session, key, fingerprint, state, created_at, started_at, finished_at, status, closing, result, "
    "headers, only_text, request_id, session_id"
)
_SELECT = f"SELECT {_COLUMNS} FROM invocations WHERE "  # noqa: S608  # our own column names
_MARKS = ", ".join("?" * len(_COLUMNS.split(",")))
_INSERT = f"INSERT OR REPLACE INTO invocations ({_COLUMNS}) VALUES ({_MARKS})"  # noqa: S608  # our own column names


@dataclass(slots=True, kw_only=True)
class StoredInvocation:
    """An invocation as the database has it; `events` begin with number `first_id`."""

    id: str
    caller: str | None
    session: str | None
    key: str | None
    fingerprint: bytes
    state: str
    created_at: float
    request_id: str
    session_id: str | None
    started_at: float | None = None
    finished_at: float | None = None
    status: int | None = None
    closing: bytes | None = None
    result: bytes | None = None
    headers: list[tuple[bytes, bytes]]
    only_text: bool = True
    first_id: int = 1
    events: list[bytes]


class EventStore:
    """The database of one process.

    Args:
        url: `sqlite:///relative/path` or `sqlite:////absolute/path`.
        max_invocations: How many finished invocations are kept.
        max_age_seconds: For how long.

    Raises:
        ConfigurationError: The URL is wrong, the file cannot be opened, or another process uses it.
    """

    def __init__(self, url: str, *, max_invocations: int, max_age_seconds: float) -> None:
        if not url.startswith(URL_PREFIX) or len(url) == len(URL_PREFIX):
            raise ConfigurationError(f"event_store must be '{URL_PREFIX}path', not {url!r}.")
        self._path = Path(url.removeprefix(URL_PREFIX))
        self._max_invocations = max_invocations
        self._max_age_seconds = max_age_seconds
        self._jobs: SimpleQueue[Callable[[sqlite3.Connection], None] | None] = SimpleQueue()
        opened: SimpleQueue[sqlite3.Error | OSError | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, args=(opened,), name="agent-event-store", daemon=True)
        self._thread.start()
        if (error := opened.get()) is not None:
            raise ConfigurationError(f"event_store {str(self._path)!r} cannot be used: {error}.") from error

    def save(self, stored: StoredInvocation) -> None:
        """Write an invocation, over what there was of it. Returns at once."""
        self._jobs.put(lambda database: self._write(database, stored))

    def drop(self, invocation_id: str) -> None:
        """Forget an invocation. Returns at once."""
        self._jobs.put(lambda database: _delete(database, invocation_id))

    async def find(self, invocation_id: str) -> StoredInvocation | None:
        """Return the invocation of this id."""
        return await self._ask(lambda database: _read(database, "id = ?", (invocation_id,)))

    async def find_by_key(self, caller: str, session: str, key: str) -> StoredInvocation | None:
        """Return the invocation that was asked for under this idempotency key."""
        condition = "caller = ? AND session = ? AND key = ?"
        return await self._ask(lambda database: _read(database, condition, (caller, session, key)))

    def close(self) -> None:
        """Write what is waiting and close the database."""
        self._jobs.put(None)
        self._thread.join()

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def ask(database: sqlite3.Connection) -> None:
            try:
                result = question(database)
            except sqlite3.Error as error:
                loop.call_soon_threadsafe(_fail, answer, error)
            else:
                loop.call_soon_threadsafe(_resolve, answer, result)

        self._jobs.put(ask)
        return await answer

    def _serve(self, opened: SimpleQueue[sqlite3.Error | OSError | None]) -> None:
        try:
            database = self._open()
        except (sqlite3.Error, OSError) as error:
            opened.put(error)
            return
        opened.put(None)
        while (job := self._jobs.get()) is not None:
            try:
                with database:
                    job(database)
            except sqlite3.Error:
                logger.exception("The event store could not write; what was to be written is lost.")
        database.close()

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=1.0)
        # Exclusive: with two processes in one file, each would call what the other runs interrupted.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA foreign_keys = ON")
        with database:
            database.executescript(_SCHEMA)
            for stored in _read_all(database, "finished_at IS NULL"):
                self._write(database, _interrupted(stored))
        return database

    def _write(self, database: sqlite3.Connection, stored: StoredInvocation) -> None:
        _delete(database, stored.id)
        values = [getattr(stored, name.strip()) for name in _COLUMNS.split(",")]
        values[12] = json.dumps([[name.decode("latin-1"), value.decode("latin-1")] for name, value in stored.headers])
        database.execute(_INSERT, values)
        database.executemany(
            "INSERT INTO events VALUES (?, ?, ?)",
            [(stored.id, number, event) for number, event in enumerate(stored.events, stored.first_id)],
        )
        if stored.finished_at is not None:
            self._prune(database)

    def _prune(self, database: sqlite3.Connection) -> None:
        database.execute("DELETE FROM invocations WHERE finished_at < ?", (time.time() - self._max_age_seconds,))
        database.execute(
            "DELETE FROM invocations WHERE id IN (SELECT id FROM invocations WHERE finished_at IS NOT NULL "
            "ORDER BY finished_at DESC LIMIT -1 OFFSET ?)",
            (self._max_invocations,),
        )


def _delete(database: sqlite3.Connection, invocation_id: str) -> None:
    database.execute("DELETE FROM invocations WHERE id = ?", (invocation_id,))


def _interrupted(stored: StoredInvocation) -> StoredInvocation:
    """Return what an invocation becomes whose process died."""
    envelope = {
        "result": None,
        "status": "error",
        "duration": 0.0,
        "metadata": {"request_id": stored.request_id, "session_id": stored.session_id},
        "error": "The agent's process ended while the invocation was running.",
        "error_type": "Interrupted",
    }
    stored.state, stored.status, stored.finished_at = "failed", 500, time.time()
    stored.closing = json.dumps(envelope, separators=(",", ":")).encode()
    stored.events = [b"event: error\nid: 1\ndata: %b\n\n" % stored.closing]
    return stored


def _read(database: sqlite3.Connection, condition: str, values: tuple[str, ...]) -> StoredInvocation | None:
    return next(iter(_read_all(database, condition, values)), None)


def _read_all(database: sqlite3.Connection, condition: str, values: tuple[str, ...] = ()) -> list[StoredInvocation]:
    rows = database.execute(_SELECT + condition, values).fetchall()
    return [_stored(database, row) for row in rows]


def _stored(database: sqlite3.Connection, row: tuple[Any, ...]) -> StoredInvocation:
    facts = dict(zip((name.strip() for name in _COLUMNS.split(",")), row, strict=True))
    pairs = json.loads(facts["headers"])
    facts["headers"] = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    facts["only_text"] = bool(facts["only_text"])
    events = database.execute(
        "SELECT number, event FROM events WHERE invocation = ? ORDER BY number", (facts["id"],)
    ).fetchall()
    first_id = events[0][0] if events else 1
    return StoredInvocation(**facts, first_id=first_id, events=[event for _, event in events])


def _resolve(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
