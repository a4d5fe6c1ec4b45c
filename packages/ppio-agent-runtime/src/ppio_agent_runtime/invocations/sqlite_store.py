"""Invocations on disk, so that they survive a restart of the process: `event_store="sqlite:///path"`.

One thread owns the database (stdlib sqlite3, write-ahead log); the event loop only hands it work. What was running when
the process died is found by the next one, and told as failed with `Interrupted`.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ppio_agent_models import ConfigurationError

from ..http.sse import chunks_in
from ..observability.logging import logger
from .event_log import HeldEvents
from .store import INTERRUPTED, Answer, KeyScope, StoredInvocation, interrupted

if TYPE_CHECKING:
    from ..asgi import Headers

T = TypeVar("T")
URL_PREFIX: Final = "sqlite:///"
_VERSION: Final = 1
_COST_BYTES: Final = 1024
"""What a row costs besides its events and its body."""


_NAMES: Final = (
    "id", "caller", "session", "key", "fingerprint", "state", "form", "request_id", "session_id", "created_at",
    "started_at", "finished_at", "status", "closing", "headers", "body", "only_text", "first_id", "last_id", "events",
    "size",
)  # fmt: skip
_SAME: Final = (
    "id", "fingerprint", "state", "request_id", "session_id", "created_at", "started_at", "finished_at",
)  # fmt: skip
"""Columns that are fields under the same name."""
_COLUMNS: Final = ", ".join(_NAMES)
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS invocations ({_COLUMNS}, PRIMARY KEY (id));
CREATE UNIQUE INDEX IF NOT EXISTS invocations_by_key ON invocations (caller, session, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS invocations_by_age ON invocations (finished_at);
"""
_SELECT: Final = f"SELECT {_COLUMNS} FROM invocations WHERE "  # noqa: S608  # our own column names
_FINISHED: Final = "finished_at IS NOT NULL"
"""The others run, or have just finished, in this process."""
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


class SQLiteStore:
    """The database of one process; see `InvocationStore`.

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
        self._opening: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._failing = False

    async def open(self) -> None:
        """Open the database, and write what became of invocations that were running when it was used last.

        Raises:
            ConfigurationError: The file cannot be used, or another process uses it.
        """
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.get_running_loop().create_task(self._start_thread())
        await asyncio.shield(self._opening)

    async def save(self, stored: StoredInvocation) -> None:
        """Write an invocation, over what there was of it. Returns when that is done; a failure is logged."""
        row = _row(stored)
        cost = row[-1]
        with self._lock:
            if self._waiting_bytes + cost > self._bounds.max_bytes and self._waiting_bytes:
                logger.error("The event store cannot keep up; invocation %s is not written.", stored.id)
                return
            self._waiting_bytes += cost

        def write(database: sqlite3.Connection) -> None:
            with self._lock:
                self._waiting_bytes -= cost
            with database:
                database.execute(_REPLACE, row)
                if stored.finished_at is not None:
                    self._prune(database)
            self._failing = False

        await self._ask(write)

    async def delete(self, invocation_id: str) -> None:
        """Forget an invocation."""
        await self._ask(lambda database: _execute(database, "DELETE FROM invocations WHERE id = ?", (invocation_id,)))

    async def get(self, invocation_id: str) -> StoredInvocation | None:
        """Return the finished invocation of this id. A database that cannot be read has none."""
        return await self._ask(lambda database: _read(database, f"id = ? AND {_FINISHED}", (invocation_id,)))

    async def get_by_key(self, scope: KeyScope) -> StoredInvocation | None:
        """Return the finished invocation that was asked for under this idempotency key."""
        return await self._ask(
            lambda database: _read(database, f"caller = ? AND session = ? AND key = ? AND {_FINISHED}", scope)
        )

    async def close(self) -> None:
        """Write what is waiting and close the database."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    async def _start_thread(self) -> None:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()

        def serve() -> None:
            try:
                database = self._open()
            except (sqlite3.Error, OSError) as error:
                _hand_over(loop, opened.set_exception, self._unusable(error))
                return
            _hand_over(loop, opened.set_result, None)
            self._serve(database)

        thread = threading.Thread(target=serve, name="agent-event-store", daemon=True)
        thread.start()
        await opened
        self._thread = thread

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

    def _open(self) -> sqlite3.Connection:
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
                for running in _read_all(database, "finished_at IS NULL"):
                    database.execute(_REPLACE, _row(interrupted(running)))
                self._prune(database)
        except BaseException:
            database.close()
            raise
        return database

    def _unusable(self, error: Exception) -> ConfigurationError:
        reason = "another process uses it" if "locked" in str(error) else str(error)
        return ConfigurationError(f"event_store {str(self._path)!r} cannot be used: {reason}.")

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
    return [_stored(row) for row in rows]


def _row(stored: StoredInvocation) -> tuple[Any, ...]:
    """Return an invocation as the values of the columns."""
    caller, session, key = stored.scope or (None, None, None)
    blocks, last_id, only_text = stored.events or HeldEvents([], 0, only_text=True)
    events = b"".join([block for _, block in blocks])
    answer = stored.answer
    body = None if answer is None else answer.body
    values = {
        "id": stored.id,
        "caller": caller,
        "session": session,
        "key": key,
        "fingerprint": stored.fingerprint,
        "state": stored.state,
        "form": INTERRUPTED if stored.interrupted else stored.form,
        "request_id": stored.request_id,
        "session_id": stored.session_id,
        "created_at": stored.created_at,
        "started_at": stored.started_at,
        "finished_at": stored.finished_at,
        "status": None if answer is None else answer.status,
        "closing": None if answer is None else answer.envelope,
        "headers": _packed([] if answer is None else answer.headers),
        "body": body,
        "only_text": only_text,
        "first_id": blocks[0][0] if blocks else last_id + 1,
        "last_id": last_id,
        "events": events,
        "size": len(events) + len(body or b"") + _COST_BYTES,
    }
    return tuple(values[name] for name in _NAMES)


def _stored(row: tuple[Any, ...]) -> StoredInvocation:
    """Return what was written by `_row`."""
    values = dict(zip(_NAMES, row, strict=True))
    form, events = values["form"], values["events"]
    answer = None
    if values["closing"] is not None:
        value = chunks_in([events])[-1] if form == "value" else None
        headers = _unpacked(values["headers"])
        answer = Answer(values["status"], values["closing"], value, headers, values["body"])
    return StoredInvocation(
        scope=None if values["key"] is None else KeyScope(values["caller"], values["session"], values["key"]),
        form=None if form == INTERRUPTED else form,
        interrupted=form == INTERRUPTED,
        answer=answer,
        events=HeldEvents(
            [(values["first_id"], events)] if events else [], values["last_id"], only_text=bool(values["only_text"])
        ),
        **{name: values[name] for name in _SAME},
    )


def _packed(headers: Headers) -> bytes:
    return json.dumps([[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]).encode()


def _unpacked(packed: bytes) -> Headers:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(packed)]


def _hand_over(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *values: Any) -> None:
    with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
        loop.call_soon_threadsafe(function, *values)


def _settle(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)
