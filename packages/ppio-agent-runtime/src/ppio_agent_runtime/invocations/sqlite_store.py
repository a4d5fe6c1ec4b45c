"""Invocations on disk, shared by the processes of one machine: `event_store="sqlite:///path"`.

One thread of each process has a connection to the database (stdlib sqlite3, write-ahead log); the event loop only
hands it work. SQLite lets one process write at a time, which decides every race. A process is alive while it holds the
lock on a file of its own beside the database; invocations of a dead one are reported as failed with `Interrupted`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from ppio_agent_models import ConfigurationError

from ..observability.logging import logger
from . import sqlite_records as records
from .process_lock import ProcessLock, is_locked
from .shared_store import NewEvents, News, Reading, RunningHere, Watch
from .sqlite_file import instance_id_of, make_private, may_pass, use_write_ahead_log
from .store import REMEMBERED_KEYS, KeyScope, StoreBounds, StoredInvocation, StoreError, interrupted

T = TypeVar("T")
URL_PREFIX: Final = "sqlite:///"
_LOCK_SECONDS: Final = 5.0
"""How long to wait for another process that writes."""
_POLL_SECONDS: Final = 0.05
"""How often to look for changes of other processes, while something runs here or is followed from here."""
_LOOK_SECONDS: Final = 1.0
"""How often to look for dead processes then."""
_MOST_LATE: Final = 1000


class SQLiteStore:
    """One process's access to the database; see `shared_store.SharedStore`.

    Args:
        url: `sqlite:///relative/path` or `sqlite:////absolute/path`.
        bounds: The limits, for all processes together.
        running_here: Gets the requests of other processes.

    Raises:
        ConfigurationError: The URL is wrong.
    """

    def __init__(self, url: str, bounds: StoreBounds, running_here: RunningHere) -> None:
        if not url.startswith(URL_PREFIX) or len(url) == len(URL_PREFIX):
            raise ConfigurationError(f"event_store must be '{URL_PREFIX}path' or 'redis://host:port/0', not {url!r}.")
        self._path = Path(url.removeprefix(URL_PREFIX))
        self._bounds = bounds
        self._running_here = running_here
        self._replica = ""
        self._executor: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None  # of the executor's one thread
        self._lock: ProcessLock | None = None
        self._finalizer: weakref.finalize[..., SQLiteStore] | None = None
        self._running: set[str] = set()  # IDs of what began here and is not over
        self._late: dict[str, StoredInvocation] = {}  # ended while the database could not be used
        self._news = News()
        self._polling: asyncio.Task[None] | None = None
        self._version = 0  # of the database, which each commit of another process changes
        self._reading: set[str] = set()  # processes that read invocations of this one
        self._readers = 0
        self._looked_at = 0.0  # for dead processes
        self.failure: str | None = None
        self.instance_id: str | None = None

    async def open(self) -> None:
        """Open the database, and mark invocations of dead processes as interrupted.

        Raises:
            ConfigurationError: The file can't be used.
            StoreError: The disk is full, the database is damaged, or another process keeps it locked.
        """
        if self._database is None:
            self._executor = self._executor or ThreadPoolExecutor(1, "agent-event-store")
            await asyncio.get_running_loop().run_in_executor(self._executor, self._open)

    async def begin(self, stored: StoredInvocation) -> StoredInvocation | None:
        """Write a new invocation, unless its key is taken. Returns when that is committed."""

        def begin(database: sqlite3.Connection) -> StoredInvocation | None:
            taken = None if stored.scope is None else records.read_by_key(database, stored.scope)
            if taken is None:
                records.write(database, stored, self._replica)
            return taken

        try:
            taken = await self._write(begin)
        except asyncio.CancelledError:  # it may be committed nevertheless
            if self._executor is not None:
                self._executor.submit(self._transact, lambda database: records.refuse(database, stored.id))
            raise
        if taken is None:
            self._running.add(stored.id)
            self._poll()
        return taken

    async def append(self, stored: StoredInvocation, new: NewEvents) -> int:
        """See `SharedStore`."""
        return await self._write(lambda database: records.append(database, stored, self._replica, new))

    async def finish(self, stored: StoredInvocation) -> StoredInvocation | None:
        """Write a finished invocation, unless another process has ended it. Returns when that is committed."""
        other = await self._write(lambda database: self._put(database, stored))
        self._running.discard(stored.id)
        return other

    def finish_later(self, stored: StoredInvocation) -> None:
        """See `SharedStore`."""
        self._running.discard(stored.id)
        self._late[stored.id] = stored
        while len(self._late) > _MOST_LATE:
            del self._late[next(iter(self._late))]
        self._poll()

    async def delete(self, invocation_id: str) -> None:
        """Delete an invocation; see `records.refuse`."""
        self._running.discard(invocation_id)
        await self._write(lambda database: records.refuse(database, invocation_id))

    async def get(self, invocation_id: str) -> StoredInvocation | None:
        """Return the invocation with this ID; see `InvocationStore`."""
        return await self._look_up(lambda database: records.read(database, invocation_id))

    async def get_by_key(self, scope: KeyScope) -> StoredInvocation | None:
        """Return the invocation with this idempotency key."""
        return await self._look_up(lambda database: records.read_by_key(database, scope))

    async def read(self, invocation_id: str, after: int, most: int) -> Reading | None:
        """See `SharedStore`."""

        def read(database: sqlite3.Connection) -> Reading | None:
            return records.reading(database, invocation_id, after, most)

        found = await self._ask(read)
        if found is not None and found.stored.answer is None and time.monotonic() - self._looked_at > _LOOK_SECONDS:
            await self._bury()
            found = await self._ask(read)
        return found

    def watch(self, invocation_id: str) -> Watch:
        """See `SharedStore`."""
        self._readers += 1
        watch = Watch(self, self._news, invocation_id, f"{self._replica}/{self._readers}")
        self._poll()
        return watch

    async def cancel(self, invocation_id: str) -> None:
        """See `SharedStore`."""
        await self.tell(invocation_id, "cancel")

    async def tell(self, invocation_id: str, kind: str, reader: str = "", position: int = 0) -> None:
        """See `SharedStore`."""

        def tell(database: sqlite3.Connection) -> None:
            database.execute(
                "INSERT INTO messages SELECT owner, ?, id, ?, ? FROM invocations WHERE id = ? AND finished_at IS NULL",
                (kind, reader, position, invocation_id),
            )

        await self._write(tell)

    async def close(self) -> None:
        """Finish pending writes, and close the database."""
        polling, self._polling = self._polling, None
        if polling is not None and polling.get_loop() is asyncio.get_running_loop():
            polling.cancel()
            await asyncio.wait([polling])
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.get_running_loop().run_in_executor(executor, self._close)
            executor.shutdown()

    def _put(
        self, database: sqlite3.Connection, stored: StoredInvocation, owner: str | None = None
    ) -> StoredInvocation | None:
        """Write a finished invocation, or return how another process has ended it."""
        found = database.execute("SELECT finished_at, owner FROM invocations WHERE id = ?", (stored.id,)).fetchone()
        owner = owner or self._replica
        if found is not None and (found[0] is not None or found[1] != owner):
            return records.read(database, stored.id)
        records.write(database, stored, owner)
        bounds = self._bounds
        most = time.time() - bounds.max_age_seconds, bounds.max_invocations, bounds.max_bytes
        records.prune(database, most, REMEMBERED_KEYS)
        return None

    async def _look_up(
        self, question: Callable[[sqlite3.Connection], StoredInvocation | None]
    ) -> StoredInvocation | None:
        """Return what a function finds; look first for dead processes if it still runs elsewhere."""
        found = await self._ask(question)
        if found is not None and found.answer is None and found.id not in self._running:
            await self._bury()
            found = await self._ask(question)
        return found

    async def _bury(self) -> None:
        """Mark the invocations of dead processes as interrupted."""
        self._looked_at = time.monotonic()
        if await self._ask(self._dead):
            await self._write(self._interrupt_dead)

    def _dead(self, database: sqlite3.Connection) -> list[str]:
        """Return the names of dead processes that may have left something."""
        names = [name for (name,) in database.execute("SELECT name FROM replicas").fetchall()]
        return [name for name in names if name != self._replica and not is_locked(self._lock_path(name))]

    def _interrupt_dead(self, database: sqlite3.Connection) -> None:
        for name in self._dead(database):
            for running in records.running_of(database, name):
                self._put(database, interrupted(running), name)
            database.execute("DELETE FROM messages WHERE replica = ?", (name,))
            database.execute("DELETE FROM replicas WHERE name = ?", (name,))
            with suppress(OSError):
                self._lock_path(name).unlink()

    def _poll(self) -> None:
        """Look for changes of other processes, until nothing runs here, is followed from here or is left to write."""
        loop = asyncio.get_running_loop()
        if self._polling is None or self._polling.done() or self._polling.get_loop() is not loop:
            self._polling = loop.create_task(self._keep_polling())

    async def _keep_polling(self) -> None:
        while self._running or self._news or self._late:
            await asyncio.sleep(_POLL_SECONDS)
            with suppress(StoreError):  # it is logged, and may pass
                await self._receive()
                if time.monotonic() - self._looked_at > _LOOK_SECONDS:
                    await self._bury()
                    self._forget_dead_readers()
                    await self._keep_late()

    async def _keep_late(self) -> None:
        """Write what could not be written when it ended."""
        for late in list(self._late.values()):
            await self.finish(late)
            self._late.pop(late.id, None)

    async def _receive(self) -> None:
        """Handle changes and messages of other processes, if there are any."""
        if (messages := await self._ask(self._changes)) is None:
            return
        self._news.tell_all()
        for message in messages and await self._write(self._take_messages):
            self._hear(*message)

    def _changes(self, database: sqlite3.Connection) -> list[tuple[str, str, str, int]] | None:
        """Return the messages for this process, or None if no other process has written anything since."""
        before, (self._version,) = self._version, database.execute("PRAGMA data_version").fetchone()
        return None if before == self._version else self._messages(database)

    def _messages(self, database: sqlite3.Connection) -> list[tuple[str, str, str, int]]:
        question = "SELECT kind, invocation, reader, position FROM messages WHERE replica = ? ORDER BY rowid"
        return database.execute(question, (self._replica,)).fetchall()

    def _take_messages(self, database: sqlite3.Connection) -> list[tuple[str, str, str, int]]:
        messages = self._messages(database)
        database.execute("DELETE FROM messages WHERE replica = ?", (self._replica,))
        return messages

    def _hear(self, kind: str, invocation_id: str, reader: str, position: int) -> None:
        if kind == "cancel":
            self._running_here.cancel_running(invocation_id)
            return
        self._reading.add(reader.partition("/")[0])
        self._running_here.note_reader(invocation_id, reader, position if kind == "read" else None)

    def _forget_dead_readers(self) -> None:
        for name in list(self._reading):
            if not is_locked(self._lock_path(name)):
                self._reading.discard(name)
                self._running_here.forget_readers(f"{name}/")

    def _lock_path(self, replica: str) -> Path:
        return self._path.with_name(f"{self._path.name}-{replica}")

    async def _ask(self, question: Callable[[sqlite3.Connection], T], *, begin: str = "BEGIN") -> T:
        """Run a function in one transaction in the database's thread, commit, and return its result.

        Raises:
            StoreError: The database cannot be used.
        """
        if self._executor is None:
            raise StoreError("it is closed")
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._transact, question, begin)

    def _transact(self, question: Callable[[sqlite3.Connection], T], begin: str = "BEGIN IMMEDIATE") -> T:
        if (database := self._database) is None:
            raise StoreError(self.failure or "it is closed")
        try:
            with database:  # commits, or rolls back
                database.execute(begin)
                return question(database)
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error

    async def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function in one transaction in which no other process can write."""
        result = await self._ask(change, begin="BEGIN IMMEDIATE")
        if self.failure is not None:
            self.failure = None
            logger.info("The event store %r is available again.", str(self._path))
        return result

    def _failed(self, error: sqlite3.Error | OSError) -> StoreError:
        """Record that the database cannot be used; log it the first time."""
        reason = str(getattr(error, "strerror", None) or error)
        if self.failure is None:
            what = "The event store %r cannot be used: %s. Durable calls are refused until it works again."
            logger.error(what, str(self._path), reason)
        self.failure = reason
        return StoreError(reason)

    def _open(self) -> None:
        if self._database is not None:  # by another request meanwhile
            return
        database = lock = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            make_private(self._path)
            self._replica = uuid.uuid4().hex
            lock = ProcessLock(self._lock_path(self._replica))
            database = sqlite3.connect(self._path, timeout=_LOCK_SECONDS, check_same_thread=False, isolation_level=None)
            instance_id = self._prepare(database)
        except (sqlite3.Error, OSError) as error:
            if database is not None:
                database.close()
            if lock is not None:
                lock.release()
            if may_pass(error, self._path):
                raise self._failed(error) from error
            raise ConfigurationError(f"event_store {str(self._path)!r} cannot be used: {error}.") from error
        self._database, self._lock, self.failure, self.instance_id = database, lock, None, instance_id
        # An app without a running lifespan is never closed, and Python 3.13 warns about databases that are left open.
        self._finalizer = weakref.finalize(self, _let_go, database, lock)
        self._finalizer.atexit = False

    def _prepare(self, database: sqlite3.Connection) -> str | None:
        """Make the tables, end what dead processes left, and return the instance's ID."""
        use_write_ahead_log(database, _LOCK_SECONDS)
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA journal_size_limit = 8388608")
        with database:
            database.execute("BEGIN IMMEDIATE")
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in (0, records.VERSION):
                raise OSError(f"it was written by another version of this package (format {version})")
            for statement in records.SCHEMA:
                database.execute(statement)
            database.execute("INSERT INTO replicas VALUES (?)", (self._replica,))
            self._interrupt_dead(database)
            return instance_id_of(database, self._path)

    def _close(self) -> None:
        database, lock, self._database, self._lock = self._database, self._lock, None, None
        if database is None or lock is None:
            return
        if self._finalizer is not None:
            self._finalizer.detach()
        with suppress(sqlite3.Error), database:
            database.execute("BEGIN IMMEDIATE")
            for late in list(self._late.values()):
                self._put(database, late)
            database.execute("DELETE FROM messages WHERE replica = ?", (self._replica,))
            if not records.running_of(database, self._replica):
                database.execute("DELETE FROM replicas WHERE name = ?", (self._replica,))
        _let_go(database, lock)


def _let_go(database: sqlite3.Connection, lock: ProcessLock) -> None:
    with suppress(sqlite3.Error):
        database.close()
    lock.release()
