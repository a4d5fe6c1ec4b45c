"""All invocations of one app: started, watched by one clock, counted, stopped at the end of a drain."""

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
        config: Timeouts, the resume window, the bounds of what is held.
        workers: Threads for plain functions.
        health: What `/ping` says.

    Attributes:
        handler: The agent's function, once it is registered.
        admission: Who is let in; None when nothing is limited.
        recorder: Who counts; None when nobody does.
        ticker: The clock.
        durable: Those that somebody can come back to.
        draining: No more invocations are taken.
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
        """Start again on the running loop, after an earlier life of the app may have ended on another one."""
        self.draining = False
        self._running.clear()
        self.durable.reset()
        self._was_seen_busy = False
        self.ticker.reset()
        self._health.reset()

    def close(self) -> None:
        """Let the watchdog's thread end."""
        self._watchdog.close()

    @property
    def in_flight(self) -> Mapping[str, Invocation]:
        """Those that are in flight by their id, in the order in which they began; who waits to be admitted too."""
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

    async def begin_durable(
        self, call: InvocationCall, durability: Durability, wanted: bytes | None = None
    ) -> tuple[Transcript, bool]:
        """Return the invocation that a call asks for that somebody may come back to, and whether it is an earlier one.

        A new one works from here on, and in any store that outlives the process it is known by then.

        Args:
            call: What is asked for.
            durability: How.
            wanted: The instance that its request is for, if it names one.

        Raises:
            DrainingError: The service is shutting down.
            StoreError: The store cannot be used, so nothing has begun.
            OtherInstanceError: Another instance is behind the store by now.
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
        """Note that the answer is complete. Code that was cancelled and does not end keeps it in flight.

        Args:
            invocation: What was answered.
            failure: What ended it instead of a result.
        """
        invocation.stop_listening()
        if (keeping := invocation.keeping) is not None and not keeping.done():
            return keeping.add_done_callback(lambda _: self.finish(invocation, failure))
        task = invocation.cancel_scope.task
        if invocation.send is not None or task is None or task.done() or task is asyncio.current_task():
            self._discard(invocation)
        else:
            invocation.stop(ClientGoneError())  # unless it is over: its writer failed, and nobody takes the rest
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
    """Return what the callers of work that was never begun are told while the service shuts down."""
    return DrainingError(
        "The agent is draining: it is shutting down and accepts no new work.", retry_after=_RETRY_AFTER_SECONDS
    )


def _cut_error() -> DrainingError:
    """Return what the callers of work are told that a drain has cut: not to try again, for it may have run."""
    return DrainingError(
        "The agent shut down before the invocation finished (draining); it may have taken effect.", retryable=False
    )


def stream_timeout(call: InvocationCall, config: AgentConfig) -> float:
    """Return how many seconds a stream may take that answers a call."""
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
