"""Invocations on disk, so that they survive a restart of the process: `event_store="sqlite:///path"`.

One thread owns the database (stdlib sqlite3, write-ahead log); the event loop only hands it work. What was running when
the process died is found by the next one, and told as failed with `Interrupted`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ppio_agent_models import ConfigurationError

from ..http.sse import chunks_in
from ..observability.logging import logger
from .event_log import HeldEvents
from .store import INTERRUPTED, Answer, KeyScope, StoredInvocation, interrupted

T = TypeVar("T")
URL_PREFIX: Final = "sqlite:///"
_VERSION: Final = 1
_COST_BYTES: Final = 1024
"""What a row costs besides its events and its body."""
_COLUMNS: Final = (
    "id, caller, session, key, fingerprint, state, form, request_id, session_id, created_at, started_at, finished_at, "
    "status, closing, headers, body, only_text, first_id, last_id, events, size"
)
"""In the order of `_row` and `_stored`."""
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS invocations ({_COLUMNS}, PRIMARY KEY (id));
CREATE UNIQUE INDEX IF NOT EXISTS invocations_by_key ON invocations (caller, session, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS invocations_by_age ON invocations (finished_at);
PRAGMA user_version = {_VERSION};
"""
_SELECT: Final = f"SELECT {_COLUMNS} FROM invocations WHERE "  # noqa: S608  # our own column names
_FINISHED: Final = "finished_at IS NOT NULL"
"""The others run, or have just finished, in this process."""
_MARKS: Final = ", ".join("?" * len(_COLUMNS.split(",")))
_REPLACE: Final = f"INSERT OR REPLACE INTO invocations VALUES ({_MARKS})"  # noqa: S608  # only question marks
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
        self._executor: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None  # of the executor's one thread
        self._waiting_bytes = 0
        self._failing = False

    async def open(self) -> None:
        """Open the database, and write what became of invocations that were running when it was used last.

        Raises:
            ConfigurationError: The file cannot be used, or another process uses it.
        """
        if self._database is None:
            self._executor = self._executor or ThreadPoolExecutor(1, "agent-event-store")
            await asyncio.get_running_loop().run_in_executor(self._executor, self._open)

    async def save(self, stored: StoredInvocation) -> None:
        """Write an invocation, over what there was of it. Returns when that is done; a failure is logged."""
        row = _row(stored)
        cost: int = row[-1]
        if self._waiting_bytes + cost > self._bounds.max_bytes and self._waiting_bytes:
            logger.error("The event store cannot keep up; invocation %s is not written.", stored.id)
            return
        self._waiting_bytes += cost
        try:
            if await self._ask(lambda database: self._write(database, row)):
                self._failing = False
        finally:
            self._waiting_bytes -= cost

    async def delete(self, invocation_id: str) -> None:
        """Forget an invocation."""
        await self._ask(lambda database: database.execute("DELETE FROM invocations WHERE id = ?", (invocation_id,)))

    async def get(self, invocation_id: str) -> StoredInvocation | None:
        """Return the finished invocation of this id. A database that cannot be read has none."""
        found = await self._ask(lambda database: _read(database, f"id = ? AND {_FINISHED}", (invocation_id,)))
        return found[0] if found else None

    async def get_by_key(self, scope: KeyScope) -> StoredInvocation | None:
        """Return the finished invocation that was asked for under this idempotency key."""
        condition = f"caller = ? AND session = ? AND key = ? AND {_FINISHED}"
        found = await self._ask(lambda database: _read(database, condition, scope))
        return found[0] if found else None

    async def close(self) -> None:
        """Write what is waiting and close the database."""
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.get_running_loop().run_in_executor(executor, self._close)
            executor.shutdown()

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return the answer of the database in one transaction, None when it fails or is closed."""

        def ask() -> T | None:
            if self._database is None:
                return None
            try:
                with self._database as database:
                    return question(database)
            except (sqlite3.Error, OSError) as error:
                if not self._failing:  # a full disk fails often; once is enough
                    logger.error("The event store failed (%s); what it should have kept is lost.", error)  # noqa: TRY400
                self._failing = True
            return None

        if self._executor is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._executor, ask)

    def _write(self, database: sqlite3.Connection, row: tuple[Any, ...]) -> bool:
        database.execute(_REPLACE, row)
        self._prune(database)
        return True

    def _open(self) -> None:
        if self._database is not None:  # by another request meanwhile
            return
        database = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _make_private(self._path)
            database = sqlite3.connect(self._path, timeout=1.0, check_same_thread=False)
            self._prepare(database)
        except (sqlite3.Error, OSError) as error:
            if database is not None:
                database.close()
            reason = "another process uses it" if "locked" in str(error) else str(error)
            raise ConfigurationError(f"event_store {str(self._path)!r} cannot be used: {reason}.") from error
        self._database = database

    def _prepare(self, database: sqlite3.Connection) -> None:
        # Exclusive: with two processes in one file, each would call what the other runs interrupted.
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

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with suppress(sqlite3.Error):
                database.close()

    def _prune(self, database: sqlite3.Connection) -> None:
        bounds = self._bounds
        oldest_allowed = time.time() - bounds.max_age_seconds
        database.execute(_PRUNE, (oldest_allowed, bounds.max_invocations, bounds.max_bytes))


def _make_private(path: Path) -> None:
    """Let nobody else read the file, which holds answers of callers; SQLite gives its `-wal` the same mode."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


def _read(database: sqlite3.Connection, condition: str, values: tuple[str, ...] = ()) -> list[StoredInvocation]:
    return [_stored(*row) for row in database.execute(_SELECT + condition, values)]


def _row(stored: StoredInvocation) -> tuple[Any, ...]:
    """Return an invocation as the values of the columns."""
    blocks, last_id, only_text = stored.events or HeldEvents([], 0, only_text=True)
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
        only_text,
        blocks[0][0] if blocks else last_id + 1,
        last_id,
        events,
        len(events) + len(body or b"") + _COST_BYTES,
    )


def _stored(*row: Any) -> StoredInvocation:
    """Return what was written by `_row`."""
    name, caller, session, key, fingerprint, state, form, request_id, session_id, *times, status, closing = row[:14]
    headers, body, only_text, first_id, last_id, events, _ = row[14:]
    answer = None
    if closing is not None:
        value = chunks_in([events])[-1] if form == "value" else None
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
        events=HeldEvents([(first_id, events)] if events else [], last_id, only_text=bool(only_text)),
    )
