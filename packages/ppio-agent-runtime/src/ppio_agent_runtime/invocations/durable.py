"""Durable invocations: claimed in a store, found by ID or idempotency key, and kept after their end."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ppio_agent_models import IdempotencyKeyReusedError, OtherInstanceError

from ..context import RequestContext
from .memory_store import MemoryStore
from .publisher import Publisher
from .remote_invocation import RemoteInvocation, RemoteReaders
from .store import KeyScope, StoreBounds, StoreError, ending_of, evicted
from .transcript import Transcript

if TYPE_CHECKING:
    from ..config import AgentConfig
    from .invocation import Invocation
    from .kept_log import Share
    from .shared_store import SharedStore
    from .store import StoredInvocation
    from .ticker import Ticker


class DurableInvocations:
    """The durable invocations of one app: running here or elsewhere, or over; see `transcript.Keeper`.

    Args:
        config: Names the store and its limits.
        ticker: The clock.
        running: The invocations in flight in this process, by ID.

    Raises:
        ConfigurationError: `event_store` is not a supported URL.
    """

    def __init__(self, config: AgentConfig, ticker: Ticker, running: Mapping[str, Invocation]) -> None:
        self.config = config
        self.ticker = ticker
        self._running = running
        self._by_key: dict[KeyScope, Invocation] = {}  # of those that run
        self._claims: dict[KeyScope, asyncio.Future[None]] = {}  # done when the store has assigned a key
        self._own_instance: bytes | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._followed: weakref.WeakSet[RemoteInvocation] = weakref.WeakSet()
        self._memory = MemoryStore(
            config.event_log_max_invocations,
            config.event_log_max_age_seconds,
            config.event_log_max_bytes,
            config.event_log_max_bytes_per_invocation,
        )
        self._store = self._make_store()

    def _make_store(self) -> SharedStore | None:
        """Return the store outside of this process, if there is one."""
        config = self.config
        if config.event_store is None:
            return None
        most, seconds = config.event_log_max_invocations, config.event_log_max_age_seconds
        bounds, readers = StoreBounds(most, seconds, config.event_log_max_bytes), RemoteReaders(self._running)
        if config.event_store.startswith(("redis", "valkey")):
            from .redis_store import RedisStore  # needs an extra

            return RedisStore(config.event_store, bounds, readers)
        from .sqlite_store import SQLiteStore  # imports sqlite3, which most agents do not need

        return SQLiteStore(config.event_store, bounds, readers)

    async def __aenter__(self) -> None:
        """Open the store.

        Raises:
            ConfigurationError: It cannot be opened.
        """
        if self._store is not None:
            with suppress(StoreError):  # it is logged and in `/ping`; the agent starts, but refuses durable calls
                await self._store.open()

    async def __aexit__(self, *_: object) -> None:
        """Finish pending writes, and close the store."""
        if self._store is not None:
            if self._tasks:
                await asyncio.wait(self._tasks)
            await self._store.close()

    def reset(self) -> None:
        """Forget the invocations of an earlier lifespan of the app, so that a retry doesn't find them."""
        self._own_instance = None
        self._by_key.clear()
        self._claims.clear()

    @property
    def held(self) -> int:
        """How many are kept in memory, running ones included."""
        return len(self._memory) + len(self._still_running())

    @property
    def held_bytes(self) -> int:
        """How many bytes they use, approximately."""
        return self._memory.finished_bytes + sum(invocation.held_bytes for invocation in self._still_running())

    def warning(self) -> str | None:
        """Return the message for `/ping` if the store cannot be used."""
        failure = None if self._store is None else self._store.failure
        return None if failure is None else f"degraded: the event store cannot be used ({failure})"

    @property
    def instance(self) -> bytes:
        """The value of `PPIO-Agent-Instance`: the store's ID if it has one, else a random one for this lifespan.

        The random one is made on first use, so that forked workers differ.
        """
        if self._store is not None and self._store.instance_id is not None:
            return self._store.instance_id.encode()
        if self._own_instance is None:
            self._own_instance = os.urandom(16).hex().encode()
        return self._own_instance

    def check_instance(self, wanted: bytes | None) -> None:
        """Raise an error if a request names another instance.

        Raises:
            OtherInstanceError: It does; an earlier attempt may have run there.
        """
        if wanted is not None and wanted != self.instance:
            raise OtherInstanceError(
                "The request is for another instance of the agent, so nothing was run here. If an earlier attempt "
                "reached that instance, the agent may have run."
            )

    async def known(self, scope: KeyScope | None, fingerprint: bytes) -> Transcript | None:
        """Return the invocation that an earlier request with the same key started.

        Raises:
            StoreError: The store cannot be reached, so nothing may start.
            IdempotencyKeyReusedError: The key was used with another body.
            EventsEvictedError: It is finished and no longer kept.
        """
        if self._store is not None:
            await self._store.open()  # if it failed before, or the lifespan didn't run, as inside another app
        known = None if scope is None else await self._find_by_key(scope)
        if known is not None:
            _check_body(known, fingerprint)
        return known

    async def claim(self, invocation: Invocation, wanted: bytes | None, *, runs_at_once: bool) -> Transcript | None:
        """Claim the key of a new invocation in the store, so that it can't run twice.

        If this raises, or returns an invocation, the new one must not run.

        Args:
            invocation: None of the agent's code has run.
            wanted: The instance that its request names, or None.
            runs_at_once: It doesn't have to wait in the queue.

        Returns:
            The invocation that another process has started with the same key meanwhile, or None.

        Raises:
            StoreError: The store cannot be reached.
            OtherInstanceError: The store now belongs to another instance.
            IdempotencyKeyReusedError: The key was used with another body.
        """
        scope, claiming = invocation.scope, asyncio.get_running_loop().create_future()
        if scope is not None:
            self._by_key[scope] = invocation
        if self._store is None:
            return None
        if scope is not None:
            self._claims[scope] = claiming
        stored = invocation.stored()
        if runs_at_once:
            stored.state, stored.started_at = "running", stored.created_at  # saves a second write
        is_ours = False
        try:
            first = await self._begin(self._store, stored, wanted)
            is_ours = first is None
        finally:
            if not is_ours:
                self._forget_key(invocation, scope)
            if scope is not None:
                self._claims.pop(scope, None)
            claiming.set_result(None)
        if first is not None:
            _check_body(first, invocation.fingerprint)
            return await self._restored(first)
        invocation.publisher = Publisher(self._store, invocation, stored.state)
        return None

    async def _begin(
        self, store: SharedStore, stored: StoredInvocation, wanted: bytes | None
    ) -> StoredInvocation | None:
        first = await store.begin(stored)
        if wanted not in (None, self.instance):  # the instance changed during the claim
            if first is None:
                await store.delete(stored.id)
            self.check_instance(wanted)
        return first

    async def find(self, invocation_id: str) -> Transcript | None:
        """Return the invocation with this ID, if it is running or kept."""
        invocation = self._running.get(invocation_id)
        if invocation is not None:
            return invocation
        stored = self._memory.find(invocation_id)
        if stored is None and self._store is not None:
            stored = await self._store.get(invocation_id) or self._memory.find(invocation_id)
        return await self._restored(stored)

    def hang_up(self, error: Exception) -> None:
        """Cut the streams of invocations in other processes, because this process ends."""
        for followed in list(self._followed):
            followed.hang_up(error)

    def share(self) -> Share:
        """See `transcript.Keeper`."""
        return self._memory.share()

    def spawn(self, working: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """See `transcript.Keeper`."""
        task = asyncio.get_running_loop().create_task(working)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def keep_finished(self, invocation: Transcript) -> None:
        """See `transcript.Keeper`. A refused one is kept, without its key, only if its caller already got a 202."""
        scope, is_held = invocation.scope, invocation.is_accepted or not invocation.is_refused
        if invocation.is_refused:
            invocation.scope = None

        def settle() -> None:
            invocation.settle()
            self._forget_key(invocation, scope)
            if is_held:
                self._memory.put(invocation.stored())

        if self._store is None:
            return settle()
        invocation.keeping = self.spawn(self._keep(self._store, invocation, settle, is_held=is_held))

    async def _keep(
        self, store: SharedStore, invocation: Transcript, settle: Callable[[], None], *, is_held: bool
    ) -> None:
        is_kept = False
        try:
            if invocation.publisher is not None:
                await invocation.publisher.end()
            if not is_held:
                await store.delete(invocation.id)
            elif (other := await store.finish(invocation.stored(with_events=True))) is not None:
                invocation.ending, invocation.interrupted = ending_of(other), other.interrupted
            is_kept = True
        except StoreError:
            pass
        finally:
            if is_held and not is_kept:
                invocation.withhold()
                store.finish_later(invocation.stored(with_events=True))
            settle()

    async def _find_by_key(self, scope: KeyScope) -> Transcript | None:
        if (running := await self._claimed(scope)) is not None:
            return running
        stored = self._memory.find_by_key(scope)
        if stored is None and self._store is not None:
            stored = await self._store.get_by_key(scope)
            # Meanwhile another request with the same key may have started.
            if (running := await self._claimed(scope)) is not None:
                return running
            stored = self._memory.find_by_key(scope) or stored
        if stored is None and self._memory.has_evicted(scope):
            raise evicted()
        return await self._restored(stored)

    async def _claimed(self, scope: KeyScope) -> Invocation | None:
        """Return the invocation that runs here under a key, after the claims in progress."""
        while (claiming := self._claims.get(scope)) is not None:
            await asyncio.wait([claiming])
        return self._by_key.get(scope)

    async def _restored(self, stored: StoredInvocation | None) -> Transcript | None:
        if stored is None:
            return None
        context = RequestContext(request_id=stored.request_id, session_id=stored.session_id)
        context.invocation_id = stored.id
        if stored.answer is not None:
            return Transcript.restored(self, context, stored)
        reading = None if self._store is None else await self._store.read(stored.id, 0, 0)
        if self._store is None or reading is None:
            return None  # it was deleted meanwhile
        remote = RemoteInvocation(self, context, self._store, reading)
        self._followed.add(remote)
        return remote

    def _forget_key(self, invocation: Transcript, scope: KeyScope | None) -> None:
        if scope is not None and self._by_key.get(scope) is invocation:
            del self._by_key[scope]

    def _still_running(self) -> list[Invocation]:
        return [each for each in self._running.values() if each.durable and not each.is_over]


def _check_body(known: Transcript | StoredInvocation, fingerprint: bytes) -> None:
    if known.fingerprint != fingerprint:
        raise IdempotencyKeyReusedError(
            "This Idempotency-Key was used before in this session, with another body; use a new key."
        )
