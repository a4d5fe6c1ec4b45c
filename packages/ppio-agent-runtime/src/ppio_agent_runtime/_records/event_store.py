"""Invocations on disk, so that they survive a restart of the process: `event_store="sqlite:///path"`.

One thread owns the database (stdlib sqlite3, write-ahead log); the event loop only hands it work. What was running when
the process died is found by the next one, and told as failed with `Interrupted`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from ppio_agent_models import ConfigurationError

logger = logging.getLogger("ppio_agent_runtime")

T = TypeVar("T")
URL_PREFIX: Final = "sqlite:///"
_VERSION: Final = 1
_COST_BYTES: Final = 1024
"""What a row costs besides its events and its body."""


@dataclass(slots=True, kw_only=True)
class StoredInvocation:
    """A row of the database; the fields are its columns."""

    id: str
    caller: str | None
    session: str | None
    key: str | None
    fingerprint: bytes
    state: str
    form: str | None
    request_id: str
    session_id: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    status: int | None
    closing: bytes | None
    headers: bytes
    body: bytes | None
    only_text: int
    first_id: int
    last_id: int
    events: bytes
    size: int

    def cost(self) -> int:
        """Return about how many bytes it takes."""
        return len(self.events) + len(self.body or b"") + _COST_BYTES


_NAMES: Final = tuple(field.name for field in fields(StoredInvocation))
_COLUMNS: Final = ", ".join(_NAMES)
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS invocations ({_COLUMNS}, PRIMARY KEY (id));
CREATE UNIQUE INDEX IF NOT EXISTS invocations_by_key ON invocations (caller, session, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS invocations_by_age ON invocations (finished_at);
"""
_SELECT: Final = f"SELECT {_COLUMNS} FROM invocations WHERE "  # noqa: S608  # our own column names
_MARKS: Final = ", ".join("?" * len(_NAMES))
_REPLACE: Final = f"INSERT OR REPLACE INTO invocations ({_COLUMNS}) VALUES ({_MARKS})"  # noqa: S608  # our own names
_PRUNE: Final = """
DELETE FROM invocations WHERE id IN (
    SELECT id FROM (
        SELECT id, finished_at, row_number() OVER newest AS place, sum(size) OVER newest AS bytes
        FROM invocations WHERE finished_at IS NOT NULL WINDOW newest AS (ORDER BY finished_at DESC, id)
    ) WHERE finished_at < ? OR place > ? OR bytes > ?
)
"""


@dataclass(frozen=True, slots=True)
class StoreBounds:
    """How many finished invocations are kept, for how long by the wall clock, and in how many bytes."""

    max_invocations: int
    max_age_seconds: float
    max_bytes: int


class EventStore:
    """The database of one process.

    Args:
        url: `sqlite:///relative/path` or `sqlite:////absolute/path`.
        bounds: What is kept; the same number of bytes may wait to be written.

    Raises:
        ConfigurationError: The URL is wrong.
    """

    def __init__(self, url: str, bounds: StoreBounds) -> None:
        if not url.startswith(URL_PREFIX) or len(url) == len(URL_PREFIX):
            raise ConfigurationError(f"event_store must be '{URL_PREFIX}path', not {url!r}.")
        self._path = Path(url.removeprefix(URL_PREFIX))
        self._bounds = bounds
        self._jobs: SimpleQueue[Callable[[sqlite3.Connection], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._failing = False

    async def open(self, interrupted: Callable[[StoredInvocation], StoredInvocation]) -> None:
        """Open the database, and write what became of invocations that were running when it was used last.

        Raises:
            ConfigurationError: The file cannot be used, or another process uses it.
        """
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()

        def serve() -> None:
            try:
                database = self._open(interrupted)
            except (sqlite3.Error, OSError) as error:
                _hand_over(loop, opened.set_exception, self._unusable(error))
                return
            _hand_over(loop, opened.set_result, None)
            self._serve(database)

        thread = threading.Thread(target=serve, name="agent-event-store", daemon=True)
        thread.start()
        await opened
        self._thread = thread

    async def save(self, row: StoredInvocation) -> None:
        """Write an invocation, over what there was of it, and return when that is done; a failure is logged."""
        if not self.save_soon(row):
            return
        await self._ask(lambda _: None)

    def save_soon(self, row: StoredInvocation) -> bool:
        """Write an invocation, over what there was of it. Returns at once; False when too much is waiting already."""
        cost = row.cost()
        with self._lock:
            if self._waiting_bytes + cost > self._bounds.max_bytes and self._waiting_bytes:
                logger.error("The event store cannot keep up; invocation %s is not written.", row.id)
                return False
            self._waiting_bytes += cost

        def write(database: sqlite3.Connection) -> None:
            with self._lock:
                self._waiting_bytes -= cost
            with database:
                self._write(database, row)
            self._failing = False

        self._jobs.put(write)
        return True

    def drop(self, invocation_id: str) -> None:
        """Forget an invocation. Returns at once."""
        self._jobs.put(lambda database: _execute(database, "DELETE FROM invocations WHERE id = ?", (invocation_id,)))

    async def find(self, invocation_id: str) -> StoredInvocation | None:
        """Return the invocation of this id. A database that cannot be read has none."""
        return await self._ask(lambda database: _read(database, "id = ?", (invocation_id,)))

    async def find_by_key(self, caller: str, session: str, key: str) -> StoredInvocation | None:
        """Return the invocation that was asked for under this idempotency key."""
        condition = "caller = ? AND session = ? AND key = ?"
        return await self._ask(lambda database: _read(database, condition, (caller, session, key)))

    async def close(self) -> None:
        """Write what is waiting and close the database."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T | None:
        if self._thread is None:
            return None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T | None] = loop.create_future()

        def ask(database: sqlite3.Connection) -> None:
            result: T | None = None
            try:
                result = question(database)
            finally:
                _hand_over(loop, _settle, answer, result)

        self._jobs.put(ask)
        return await answer

    def _serve(self, database: sqlite3.Connection) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job(database)
            except (sqlite3.Error, OSError) as error:
                if not self._failing:  # a full disk fails often; once is enough
                    logger.error("The event store failed (%s); what it should have kept is lost.", error)  # noqa: TRY400
                self._failing = True
                with suppress(sqlite3.Error):
                    database.rollback()
        with suppress(sqlite3.Error):
            database.close()

    def _open(self, interrupted: Callable[[StoredInvocation], StoredInvocation]) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=1.0)
        try:
            # Exclusive: with two processes in one file, each would call what the other runs interrupted.
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA journal_size_limit = 8388608")
            _check_version(database)
            with database:
                database.executescript(_SCHEMA)
                database.execute(f"PRAGMA user_version = {_VERSION}")
            with database:
                for row in _read_all(database, "finished_at IS NULL"):
                    self._write(database, interrupted(row))
                self._prune(database)
        except BaseException:
            database.close()
            raise
        return database

    def _unusable(self, error: Exception) -> ConfigurationError:
        reason = "another process uses it" if "locked" in str(error) else str(error)
        return ConfigurationError(f"event_store {str(self._path)!r} cannot be used: {reason}.")

    def _write(self, database: sqlite3.Connection, row: StoredInvocation) -> None:
        row.size = row.cost()
        database.execute(_REPLACE, astuple(row))
        if row.finished_at is not None:
            self._prune(database)

    def _prune(self, database: sqlite3.Connection) -> None:
        bounds = self._bounds
        oldest_allowed = time.time() - bounds.max_age_seconds
        database.execute(_PRUNE, (oldest_allowed, bounds.max_invocations, bounds.max_bytes))


def _check_version(database: sqlite3.Connection) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        raise OSError(f"it was written by another version of this package (format {version})")


def _execute(database: sqlite3.Connection, statement: str, values: tuple[str, ...]) -> None:
    with database:
        database.execute(statement, values)


def _read(database: sqlite3.Connection, condition: str, values: tuple[str, ...]) -> StoredInvocation | None:
    return next(iter(_read_all(database, condition, values)), None)


def _read_all(database: sqlite3.Connection, condition: str, values: tuple[str, ...] = ()) -> list[StoredInvocation]:
    rows = database.execute(_SELECT + condition, values).fetchall()
    return [StoredInvocation(**dict(zip(_NAMES, row, strict=True))) for row in rows]


def _hand_over(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *values: Any) -> None:
    with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
        loop.call_soon_threadsafe(function, *values)


def _settle(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)
