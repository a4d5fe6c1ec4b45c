"""All invocations of one app: starts, watches and counts them, and stops them at the end of a drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ppio_agent_models import ConfigurationError, DrainingError

from ..errors import ClientGoneError
from ..observability.logging import ids_of, logger
from ..observability.watchdog import LoopWatchdog
from .durable import DurableInvocations
from .invocation import Admission, Invocation
from .store import KeyScope
from .ticker import Ticker

if TYPE_CHECKING:
    from ..asgi import Receive, Send
    from ..config import AgentConfig
    from ..context import RequestContext
    from ..handler import Handler
    from ..http.call import Durability, InvocationCall
    from ..observability.health import Health
    from ..observability.recorder import InvocationRecorder
    from .transcript import Transcript
    from .worker_threads import WorkerThreads

SHUTDOWN_GRACE_SECONDS: Final = 5.0
"""How long stopped invocations may take to close their responses."""
_RETRY_AFTER_SECONDS: Final = 1.0


class InvocationManager:
    """The invocations of one app, on one event loop.

    Args:
        config: Timeouts, the resume window, the limits of kept invocations.
        workers: Threads for plain functions.
        health: The status for `/ping`.

    Attributes:
        handler: The agent's function, once it is registered.
        admission: Applies limits; None if there are none.
        recorder: Records metrics, logs and traces; None if there is none.
        ticker: The clock.
        durable: The durable invocations.
        draining: No more invocations are accepted.
        force_response: Responds to the caller if a stopped handler keeps running in the task of its request.

    Raises:
        ConfigurationError: `event_store` is not a supported URL.
    """

    def __init__(self, config: AgentConfig, workers: WorkerThreads, health: Health) -> None:
        self.config = config
        self.workers = workers
        self.handler: Handler | None = None
        self.admission: Admission | None = None
        self.recorder: InvocationRecorder | None = None
        self.draining: bool = False
        self._health = health
        self._running: dict[str, Invocation] = {}
        self._watchdog = LoopWatchdog(self._is_running)
        self.ticker: Ticker = Ticker(self._running, self._watchdog, self._note_whether_busy)
        health.busy_checks.append(self._is_running)
        self._was_seen_busy = False
        self._idle: asyncio.Event | None = None
        self.durable: DurableInvocations = DurableInvocations(config, self.ticker, self._running)
        health.warnings.append(self.durable.warning)
        self.force_response: Callable[[Invocation], None] = lambda _: None

    def reopen(self) -> None:
        """Reset for a new lifespan on the running loop; an earlier one may have ended on another loop."""
        self.draining = False
        self._running.clear()
        self.durable.reset()
        self._was_seen_busy = False
        self.ticker.reset()
        self._health.reset()

    def close(self) -> None:
        """Stop the watchdog's thread."""
        self._watchdog.close()

    @property
    def in_flight(self) -> Mapping[str, Invocation]:
        """The invocations in flight by ID, in the order of their starts; those that wait in the queue too."""
        return self._running

    @property
    def instance(self) -> bytes:
        """See `DurableInvocations.instance`."""
        return self.durable.instance

    def registered(self) -> Handler:
        """Return the handler.

        Raises:
            ConfigurationError: There is none yet.
        """
        if self.handler is None:
            raise ConfigurationError("This app has no entrypoint: write @app.entrypoint above the agent's function.")
        return self.handler

    def begin(self, context: RequestContext, receive: Receive | None = None, send: Send | None = None) -> Invocation:
        """Return a new invocation, which is in flight from here on: watched, and stopped when its time is up.

        Args:
            context: The caller, IDs and limits.
            receive: Reports a disconnect, if it runs in the task of its request.
            send: Sends the response, if it runs in the task of its request.

        Raises:
            DrainingError: The service is shutting down.
        """
        if self.draining:
            raise draining_error()
        invocation = Invocation(self, context, receive, send)
        self._running[context.invocation_id] = invocation
        if not self._was_seen_busy:  # once in a tick, because it would take 3 us of the 46 us of a call
            self._was_seen_busy = True
            self._health.update()
            self._watchdog.wake()  # after adding it, because the watchdog's thread checks that before it sleeps
        self.ticker.start()
        return invocation

    async def begin_durable(
        self, call: InvocationCall, durability: Durability, wanted: bytes | None = None
    ) -> tuple[Transcript, bool]:
        """Return the durable invocation for a call, and whether an earlier call started it.

        A new one is running then, and a persistent store has it.

        Args:
            call: The parsed call.
            durability: How it requested to be durable.
            wanted: The instance that its request names, or None.

        Raises:
            DrainingError: The service is shutting down.
            StoreError: The store cannot be used, so nothing was started.
            OtherInstanceError: The store now belongs to another instance.
            IdempotencyKeyReusedError: The key was used with another body.
        """
        context, handler = call.context, self.registered()
        scope = None
        if durability.key is not None:
            scope = KeyScope(context.key_id or "", context.session_id or "", durability.key)
        known = await self.durable.known(scope, durability.fingerprint)
        if known is not None:
            return known, True
        invocation = self.begin(context)
        invocation.scope, invocation.fingerprint = scope, durability.fingerprint
        invocation.wants, invocation.typed = call.wants, call.typed or handler.yields_events
        _make_durable(invocation, call, durability, self.config)
        is_claimed = False
        try:
            first = await self.durable.claim(invocation, wanted, runs_at_once=self.admission is None)
            is_claimed = first is None
        finally:
            if not is_claimed:
                self._discard(invocation)
        if first is not None:
            return first, True
        invocation.start(invocation.work(handler, call.payload))
        return invocation, False

    def finish(self, invocation: Invocation, failure: BaseException | None) -> None:
        """Record that the response is complete. The invocation stays in flight while its cancelled code still runs.

        Args:
            invocation: The invocation.
            failure: Its exception, or None.
        """
        invocation.stop_listening()
        if (keeping := invocation.keeping) is not None and not keeping.done():
            return keeping.add_done_callback(lambda _: self.finish(invocation, failure))
        task = invocation.cancel_scope.task
        if invocation.send is not None or task is None or task.done() or task is asyncio.current_task():
            self._discard(invocation)
        else:
            invocation.stop(ClientGoneError())  # if it still runs: writing failed, so nothing reads the rest
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
        """Record a request that was refused before an invocation started."""
        if self.recorder is not None:
            self.recorder.refused(failure)

    async def drain(self, grace_seconds: float) -> None:
        """Refuse new invocations, let running ones finish for `grace_seconds`, then stop the rest and wait for them."""
        self.draining = self._health.draining = True
        self.ticker.cancel_limited()  # requests that still upload count as new work
        if self.admission is not None:
            self.admission.drain()
        if not await self._wait_until_idle(grace_seconds):
            logger.warning("Stopping %d invocations that still run after %g s.", len(self._running), grace_seconds)
            for invocation in list(self._running.values()):
                logger.warning("The drain stops invocation %s.", invocation.id, extra=ids_of(invocation.context))
                invocation.stop(_cut_error() if invocation.admitted else draining_error())
            await self._wait_until_idle(SHUTDOWN_GRACE_SECONDS)
        self.durable.hang_up(_cut_error())

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
    """Return the error for new work while the service shuts down."""
    return DrainingError(
        "The agent is draining: it is shutting down and accepts no new work.", retry_after=_RETRY_AFTER_SECONDS
    )


def _cut_error() -> DrainingError:
    """Return the error for running work that a drain stops. Not retryable, because it may have taken effect."""
    return DrainingError(
        "The agent shut down before the invocation finished (draining); it may have taken effect.", retryable=False
    )


def stream_timeout(call: InvocationCall, config: AgentConfig) -> float:
    """Return how many seconds the stream of a call may take."""
    return config.stream_timeout if call.timeout is None else min(call.timeout, config.stream_timeout)


def _make_durable(invocation: Invocation, call: InvocationCall, durability: Durability, config: AgentConfig) -> None:
    context = call.context
    invocation.durable, invocation.created_at = True, time.time()
    invocation.window_seconds = _window_seconds(call, durability, config)
    if durability.background:
        limit = config.background_timeout
        context._extend_to(limit if call.timeout is None else min(call.timeout, limit))
    is_value = durability.background or call.wants == "json"
    invocation.stream_timeout = context.timeout if is_value else stream_timeout(call, config)
    context.reporter = invocation.report


def _window_seconds(call: InvocationCall, durability: Durability, config: AgentConfig) -> float | None:
    if durability.background or durability.on_disconnect == "continue":
        return None
    if durability.on_disconnect == "cancel" or not call.numbered:
        return 0.0
    return config.resume_window_seconds
