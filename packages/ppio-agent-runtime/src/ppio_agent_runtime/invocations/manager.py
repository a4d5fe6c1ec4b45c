"""All invocations of one app: started, found, watched by one clock, stopped at the end of a drain, held when over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError, DrainingError, IdempotencyKeyReusedError

from ..context import RequestContext
from ..errors import ClientGoneError
from ..observability.logging import ids_of, logger
from ..observability.watchdog import LoopWatchdog
from .invocation import Admission, Invocation
from .store import KeyScope, MemoryStore
from .ticker import Ticker
from .transcript import Transcript

if TYPE_CHECKING:
    from ..asgi import Receive, Send
    from ..config import AgentConfig
    from ..handler import Handler
    from ..http.call import Durability, InvocationCall
    from ..observability.health import Health
    from ..observability.recorder import InvocationRecorder
    from .event_log import Share
    from .store import InvocationStore, StoredInvocation
    from .worker_threads import WorkerThreads

SHUTDOWN_GRACE_SECONDS: Final = 5.0
"""How long stopped invocations may take to say goodbye to their callers."""
_RETRY_AFTER_SECONDS: Final = 1.0


class InvocationManager:
    """The invocations of one app, on one event loop.

    Args:
        config: Timeouts, the resume window, the bounds of what is held.
        workers: Threads for plain functions.
        health: What `/ping` says.

    Attributes:
        handler: The agent's function, once it is registered.
        admission: Who is let in; None when nothing is limited.
        recorder: Who counts; None when nobody does.
        ticker: The clock.
        draining: No more invocations are taken.
        outlives_process: What is held does.
        force_response: Tells the caller in whose request's task a stopped handler refuses to end.

    Raises:
        ConfigurationError: `event_store` is no URL that can be used.
    """

    def __init__(self, config: AgentConfig, workers: WorkerThreads, health: Health) -> None:
        self.config = config
        self.workers = workers
        self.handler: Handler | None = None
        self.admission: Admission | None = None
        self.recorder: InvocationRecorder | None = None
        self.draining = False
        self._health = health
        self._running: dict[str, Invocation] = {}
        self._by_key: dict[KeyScope, Invocation] = {}  # of those that run
        self._watchdog = LoopWatchdog(self._is_running)
        self.ticker = Ticker(self._running, self._watchdog, self._note_whether_busy)
        health.busy_checks.append(self._is_running)
        self._was_seen_busy = False
        self._idle: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._memory = MemoryStore(
            config.event_log_max_invocations,
            config.event_log_max_age_seconds,
            config.event_log_max_bytes,
            config.event_log_max_bytes_per_invocation,
        )
        self._store = _store(config)
        self.outlives_process = self._store is not None
        self.force_response: Callable[[Invocation], None] = lambda _: None

    def reopen(self) -> None:
        """Begin anew on the running loop, after an earlier life of the app may have ended on another one."""
        self.draining = False
        self._running.clear()
        self._by_key.clear()
        self._was_seen_busy = False
        self.ticker.reset()
        self._health.reset()

    def close(self) -> None:
        """Let the watchdog's thread end."""
        self._watchdog.close()

    async def __aenter__(self) -> None:
        """Open the store.

        Raises:
            ConfigurationError: It cannot be opened, or another process uses it.
        """
        if self._store is not None:
            await self._store.open()

    async def __aexit__(self, *_: object) -> None:
        """Keep what is waiting to be kept, and close the store."""
        if self._store is not None:
            if self._tasks:
                await asyncio.wait(self._tasks)
            await self._store.close()

    @property
    def running(self) -> int:
        """How many are in flight, those that wait to be admitted included."""
        return len(self._running)

    @property
    def held(self) -> int:
        """How many durable ones are held in memory, running ones included."""
        return len(self._memory) + len(self._durable())

    @property
    def held_bytes(self) -> int:
        """How many bytes they hold, about."""
        return self._memory.finished_bytes + sum(invocation.held_bytes for invocation in self._durable())

    def share(self) -> Share:
        """Return the share of the memory for events that a log has which begins."""
        return self._memory.share()

    def registered(self) -> Handler:
        """Return the handler.

        Raises:
            ConfigurationError: There is none yet.
        """
        if self.handler is None:
            raise ConfigurationError("This service has no entrypoint; put @app.entrypoint above the agent's function.")
        return self.handler

    def begin(self, context: RequestContext, receive: Receive | None = None, send: Send | None = None) -> Invocation:
        """Return a new invocation, which is in flight from here on: watched, and stopped when its time is up.

        Args:
            context: Who asks.
            receive: Where its caller's hanging up is heard, if it runs in the task of its request.
            send: Where this caller is answered.

        Raises:
            DrainingError: The service is shutting down.
        """
        if self.draining:
            raise draining_error()
        invocation = Invocation(self, context, receive, send)
        self._running[context.invocation_id] = invocation
        if not self._was_seen_busy:  # a service under load is told once in a tick, not for every call: 3 us of 46
            self._was_seen_busy = True
            self._health.update()
            self._watchdog.wake()  # after it was added: the watchdog's thread looks there before it sleeps
        self.ticker.start()
        return invocation

    def begin_durable(self, call: InvocationCall, durability: Durability) -> Invocation:
        """Return a new invocation that somebody may come back to, and that `known` did not know.

        Raises:
            DrainingError: The service is shutting down.
        """
        config, context = self.config, call.context
        invocation = self.begin(context)
        invocation.durable = True
        invocation.created_at = time.time()
        invocation.wants = call.wants
        invocation.window_seconds = _window_seconds(call, durability, config)
        invocation.fingerprint = durability.fingerprint
        if durability.key is not None:
            invocation.scope = _scope(context, durability.key)
            self._by_key[invocation.scope] = invocation
        if durability.background:
            limit = config.background_timeout
            context.extend_to(limit if call.timeout is None else min(call.timeout, limit))
        is_value = durability.background or call.wants == "json"
        invocation.stream_timeout = context.timeout if is_value else stream_timeout(call, config)
        context.reporter = invocation.report
        return invocation

    async def known(self, context: RequestContext, durability: Durability) -> Transcript | None:
        """Return the invocation that an earlier request with the same key began.

        Raises:
            IdempotencyKeyReusedError: The key was used with another body.
        """
        if self._store is not None:
            await self._store.open()  # where nobody runs the lifespan, as inside another app
        if durability.key is None:
            return None
        known = await self._find_by_key(_scope(context, durability.key))
        if known is not None and known.fingerprint != durability.fingerprint:
            raise IdempotencyKeyReusedError(
                "This Idempotency-Key was used before in this session, with another body; use a new key."
            )
        return known

    async def find(self, invocation_id: str) -> Transcript | None:
        """Return the invocation of this id, if it runs or is held."""
        invocation = self._running.get(invocation_id)
        if invocation is not None:
            return invocation
        stored = self._memory.find(invocation_id)
        if stored is None and self._store is not None:
            stored = await self._store.get(invocation_id) or self._memory.find(invocation_id)
        return self._restored(stored)

    def finish(self, invocation: Invocation, failure: BaseException | None) -> None:
        """Note that the answer is complete. Code that was cancelled and does not end keeps it in flight.

        Args:
            invocation: What was answered.
            failure: What ended it instead of a result.
        """
        invocation.stop_listening()
        task = invocation.task
        if invocation.send is not None or task is None or task.done() or task is asyncio.current_task():
            self._discard(invocation)
        else:
            if invocation.stop_reason is None and not invocation.is_over:  # its writer failed: nobody takes the rest
                invocation.stop(ClientGoneError())
            task.add_done_callback(lambda _: self._discard(invocation))
        if self.recorder is not None:
            invocation.count_sent()
            failure = failure if failure is not None else invocation.error
            was_refused = self.admission is not None and not invocation.admitted
            self.recorder.finished(
                invocation.context,
                failure,
                "stream" if invocation.streams else "json",
                sent_bytes=invocation.sent_bytes,
                chunks=invocation.sent_chunks,
                first_chunk=invocation.first_chunk,
                was_refused=was_refused,
            )

    def refused(self, failure: Exception) -> None:
        """Note a request that was refused before an invocation began."""
        if self.recorder is not None:
            self.recorder.refused(failure)

    async def keep_begun(self, invocation: Transcript) -> None:
        """Return once the store knows an invocation that begins."""
        if self._store is not None:
            await self._store.save(invocation.stored())

    def keep_finished(self, invocation: Transcript, *, was_accepted: bool) -> None:
        """Hold a durable invocation that is over.

        One that was refused is held only for those who were told 202, and without its key.
        """
        scope = invocation.scope
        if scope is not None and self._by_key.get(scope) is invocation:
            del self._by_key[scope]
        if invocation.is_refused:
            invocation.scope = None
            if not was_accepted:
                if self._store is not None:
                    self._later(self._store.delete(invocation.id))
                return
        self._memory.put(invocation.stored())
        if self._store is not None:
            self._later(self._store.save(invocation.stored(with_events=True)))

    async def drain(self, grace_seconds: float) -> None:
        """Take no more, let the running ones finish for `grace_seconds`, then stop the rest and see them out."""
        self.draining = self._health.draining = True
        self.ticker.cancel_limited()  # still uploading: new work
        if self.admission is not None:
            self.admission.drain()
        if not await self._wait_until_idle(grace_seconds):
            logger.warning("%d invocations still run after %g s; they are stopped.", len(self._running), grace_seconds)
            for invocation in list(self._running.values()):
                logger.warning("Invocation %s is cut by the drain.", invocation.id, extra=ids_of(invocation.context))
                invocation.stop(draining_error())
            await self._wait_until_idle(SHUTDOWN_GRACE_SECONDS)

    async def _find_by_key(self, scope: KeyScope) -> Transcript | None:
        if (running := self._by_key.get(scope)) is not None:
            return running
        stored = self._memory.find_by_key(scope)
        if stored is None and self._store is not None:
            stored = await self._store.get_by_key(scope)
            # While the store was asked, another request with the same key may have begun.
            if (running := self._by_key.get(scope)) is not None:
                return running
            stored = self._memory.find_by_key(scope) or stored
        return self._restored(stored)

    def _restored(self, stored: StoredInvocation | None) -> Transcript | None:
        if stored is None:
            return None
        context = RequestContext(request_id=stored.request_id, session_id=stored.session_id)
        context.invocation_id = stored.id
        return Transcript.restored(self, context, stored)

    def _later(self, keeping: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(keeping)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _durable(self) -> list[Invocation]:
        return [each for each in self._running.values() if each.durable and not each.is_over]

    def _note_whether_busy(self) -> None:
        if self._running:
            self._watchdog.wake()
        elif self._was_seen_busy:
            self._was_seen_busy = False
            self._health.update()

    async def _wait_until_idle(self, seconds: float) -> bool:
        if self._running:
            self._idle = asyncio.Event()
            try:
                await asyncio.wait_for(self._idle.wait(), seconds)
            except TimeoutError:
                return False
        return True

    def _discard(self, invocation: Invocation) -> None:
        self._running.pop(invocation.context.invocation_id, None)
        if invocation.admitted and self.admission is not None:
            self.admission.release(invocation)
        if not self._running and self._idle is not None:
            self._idle.set()

    def _is_running(self) -> bool:
        return bool(self._running)


def draining_error() -> DrainingError:
    """Return what callers are told while the service shuts down."""
    return DrainingError(
        "The agent is draining: it shuts down and takes no more work.", retry_after=_RETRY_AFTER_SECONDS
    )


def stream_timeout(call: InvocationCall, config: AgentConfig) -> float:
    """Return how many seconds a stream may take that answers a call."""
    return config.stream_timeout if call.timeout is None else min(call.timeout, config.stream_timeout)


def _window_seconds(call: InvocationCall, durability: Durability, config: AgentConfig) -> float | None:
    if durability.background or durability.on_disconnect == "continue":
        return None
    if durability.on_disconnect == "cancel" or not call.numbered:
        return 0.0
    return config.resume_window_seconds


def _scope(context: RequestContext, key: str) -> KeyScope:
    return KeyScope(context.key_id or "", context.session_id or "", key)


def _store(config: AgentConfig) -> InvocationStore | None:
    if config.event_store is None:
        return None
    from .sqlite_store import SQLiteStore, StoreBounds  # imports sqlite3, which most agents do not need

    bounds = StoreBounds(config.event_log_max_invocations, config.event_log_max_age_seconds, config.event_log_max_bytes)
    return SQLiteStore(config.event_store, bounds)
