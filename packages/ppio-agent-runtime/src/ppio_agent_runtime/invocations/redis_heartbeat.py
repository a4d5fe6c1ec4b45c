"""Heartbeats of the replicas that share a store in Redis, and the messages between them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from .redis_connection import Address, Scripts, connect, disconnect
from .store import StoreError

if TYPE_CHECKING:
    from .shared_store import News, RunningHere

LIFE_SECONDS: Final = 6.0
"""How long a replica counts as alive after its last heartbeat."""
_BEAT_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 0.5
_GAP_SECONDS: Final = 4.0
"""After a longer silence of the server, or pause of this process, replicas get time for a heartbeat before they count
as dead."""
_LOOK_SECONDS: Final = 1.0


@cache
def errors_of_redis() -> tuple[type[Exception], ...]:
    """Return the exceptions that the client raises while the server cannot be used."""
    from redis.exceptions import RedisClusterException, RedisError

    return (RedisError, RedisClusterException, OSError, asyncio.TimeoutError)


class Heartbeat:
    """Sends this replica's heartbeats, on an event loop in a thread of its own, so that handlers can't block it.

    Args:
        address: The address of the store.
        replica: Name of this replica.
        on_alive: Called after each heartbeat, with the store's ID and the server's run ID.
        on_failure: Called with the exception when a heartbeat failed.
    """

    def __init__(
        self,
        address: Address,
        replica: str,
        on_alive: Callable[[str, str], None],
        on_failure: Callable[[BaseException], object],
    ) -> None:
        self._address = address
        self._replica = replica
        self._on_alive = on_alive
        self._on_failure = on_failure
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agent-event-store", daemon=True)
        self._last = 0.0
        self._steady_since = 0.0

    def start(self) -> None:
        """Start sending heartbeats."""
        self._thread.start()

    async def stop(self) -> None:
        """Stop sending heartbeats."""
        self._stopped.set()
        if self._thread.is_alive():
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    @property
    def may_judge(self) -> bool:
        """Whether the server has been reachable long enough for every running replica to send a heartbeat."""
        return time.time() - self._steady_since > LIFE_SECONDS and time.time() - self._last < _GAP_SECONDS

    async def beat(self, scripts: Scripts) -> tuple[str, str]:
        """Send one heartbeat, and return the store's ID and the server's run ID."""
        store_id, run_id = await scripts.run("beat", self._replica, int(LIFE_SECONDS * 1000), self._replica)
        now = time.time()  # the wall clock, which continues while the machine is suspended
        if not 0 <= now - self._last <= _GAP_SECONDS:
            self._steady_since = now
        self._last = now
        return store_id.decode(), run_id.decode()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            client = connect(self._address)
            scripts = Scripts(client, self._address.prefix)
            pause = _BEAT_SECONDS
            while not self._stopped.wait(pause):
                try:
                    self._on_alive(*runner.run(self.beat(scripts)))
                    pause = _BEAT_SECONDS
                except errors_of_redis() as error:
                    self._on_failure(error)
                    pause = _RETRY_SECONDS
            with suppress(*errors_of_redis()):
                runner.run(disconnect(client))


class Keeping(Protocol):
    """The part of a store that an inbox uses."""

    async def keep_late(self) -> None:
        """Write what could not be written while the server was unreachable."""

    async def interrupt(self, replica: str, invocation_id: str) -> None:
        """Mark an invocation as interrupted, because its replica is dead."""


class Inbox:
    """Receives messages of other replicas, and looks for dead ones.

    Args:
        client: The connection.
        scripts: Its scripts.
        replica: Name of this replica.
        heartbeat: Decides whether other replicas may be declared dead.
        store: The store.
        news: Told of new events.
        running_here: Gets the messages for invocations that run in this process.
    """

    def __init__(
        self,
        client: Any,
        scripts: Scripts,
        replica: str,
        heartbeat: Heartbeat,
        store: Keeping,
        news: News,
        running_here: RunningHere,
    ) -> None:
        self._client = client
        self._scripts = scripts
        self._key = f"{scripts.base}inbox:{replica}"
        self._heartbeat = heartbeat
        self._store = store
        self._running_here = running_here
        self._news = news
        self._reading: set[str] = set()  # replicas that read invocations of this one
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start receiving messages."""
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def stop(self) -> None:
        """Stop receiving messages."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _listen(self) -> None:
        last: bytes | str = "0"
        looked_at = 0.0
        while True:
            try:
                found = await self._client.xread({self._key: last}, count=1000, block=int(_LOOK_SECONDS * 1000))
                for _, messages in found:
                    for last, message in messages:  # noqa: B007  # read on from the last one
                        self._hear(message)
                if time.monotonic() - looked_at > _LOOK_SECONDS:
                    await self._look()
                    looked_at = time.monotonic()
            except errors_of_redis():
                await asyncio.sleep(_RETRY_SECONDS)
            except StoreError:
                await asyncio.sleep(_RETRY_SECONDS)

    def _hear(self, message: dict[bytes, bytes]) -> None:
        kind, invocation_id = message[b"kind"], message[b"id"].decode()
        if kind == b"events":
            self._news.tell(invocation_id)
        elif kind == b"cancel":
            self._running_here.cancel_running(invocation_id)
        else:
            reader = message[b"reader"].decode()
            self._reading.add(reader.partition("/")[0])
            position = int(message[b"position"]) if kind == b"read" else None
            self._running_here.note_reader(invocation_id, reader, position)

    async def _look(self) -> None:
        """Write what is late, and mark the invocations of dead replicas as interrupted."""
        await self._store.keep_late()
        if not self._heartbeat.may_judge:
            return
        replica, *ids = await self._scripts.run("dead") or [None]
        for invocation_id in ids:
            await self._store.interrupt(replica.decode(), invocation_id.decode())
        for reading in list(self._reading):
            if not await self._client.exists(f"{self._scripts.base}alive:{reading}"):
                self._reading.discard(reading)
                self._running_here.forget_readers(f"{reading}/")
