"""A running invocation: how it is called, watched and stopped.

There is one way to run: call the handler, put its chunks into the log or keep its result as the value, close. JSON,
streams, 202, resumed streams, `app.invoke` and WebSockets are subscribers. There is one way to stop: the first reason
wins, the code is notified, and everything that waits gets the reason.

A non-durable call for a value runs in the task of its request, without a log and without a subscriber: another
task would cost more than everything else. Any other call has a task of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import cached_property, partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ppio_agent_models import InvocationCancelledError, InvocationTimeoutError

from ..context import current_context
from ..errors import ClientGoneError
from ..http.responses import AnswerCutError, after_sending, headers_of, held_response
from ..http.sse import one_line
from .cancel_scope import CancelScope
from .executor import Framing, abandon, call_in_thread, is_stream, must_await, outcome_of, produce, put_all
from .reports import Reports
from .subscriber import TICKS_UNHEARD, listen, taker_of
from .transcript import Keeper, Transcript

if TYPE_CHECKING:
    from ..asgi import Message, Receive, Send
    from ..context import RequestContext
    from ..events.framer import EncodedFramer
    from ..handler import Callee
    from ..observability.recorder import InvocationRecorder
    from .executor import Outcome
    from .store import Answer, Form, State
    from .subscriber import Channel, Subscriber
    from .worker_threads import WorkerThreads


class Admission(Protocol):
    """What is checked between a parsed request and the agent: rate limits, concurrency, queues.

    If an invocation is refused, both ways to acquire raise the `InvocationError` that its caller gets.
    """

    def try_acquire(self, invocation: Invocation) -> bool:
        """Admit it if that can be decided at once; False if the caller must await `acquire`."""

    async def acquire(self, invocation: Invocation) -> None:
        """Admit it, at once or later, after `try_acquire` did not. Deadline, disconnect and drain end the wait."""

    def release(self, invocation: Invocation) -> None:
        """Record that an admitted invocation is over, its code included. Called once for each."""

    def drain(self) -> None:
        """Refuse the waiting invocations: the service is shutting down."""


class Manager(Protocol):
    """The part of the manager that an invocation uses; see `manager.InvocationManager`."""

    workers: WorkerThreads
    admission: Admission | None
    recorder: InvocationRecorder | None
    force_response: Callable[[Invocation], None]

    @property
    def durable(self) -> Keeper:
        """Keeps durable invocations."""

    def finish(self, invocation: Invocation, failure: BaseException | None) -> None:
        """Record that the response is complete."""


class Invocation(Transcript):
    """An invocation that runs in this process; see `Transcript` for its state and events.

    Args:
        manager: The manager.
        context: The caller, IDs and limits.
        receive: Reports a disconnect, if it runs in the task of its request.
        send: Sends the response, if it runs in the task of its request.

    Attributes:
        cancel_scope: Runs and cancels its code.
        wants: The requested form of the response; None to let the handler's result decide.
        stream_timeout: How many seconds a stream may take from the start.
        typed: Its output is requested as AG-UI events.
        in_process: Its caller accepts response objects of the handler.
        own_response: The response object that the handler returned, for such a caller.
        admitted: It was admitted, and must be released.
        forced: The response was sent although the stopped handler still runs.
        streams: Its response is a stream.
        sent_chunks: How many chunks the stream has.
    """

    state: State
    started_at: float | None
    is_accepted: bool
    form: Form | None
    sent_bytes: int
    wants: Literal["json", "stream"] | None = None
    stream_timeout: float = float("inf")
    typed = False
    in_process = False
    own_response: Any = None
    admitted: bool = False
    forced: bool = False
    streams: bool = False
    sent_chunks: int = 0
    _is_answered_by_request = True
    _ticks = 0
    _listener: asyncio.Task[None] | None = None

    def __init__(
        self,
        manager: Manager,
        context: RequestContext,
        receive: Receive | None = None,
        send: Send | None = None,
    ) -> None:
        super().__init__(manager.durable, context)
        self._manager = manager
        self.cancel_scope: CancelScope = CancelScope(context)
        self.send = send
        self._receive = receive

    def start(self, working: Coroutine[Any, Any, None], *, answered_by_request: bool = False) -> None:
        """Run in a task of its own.

        Args:
            working: `work` or `complete`.
            answered_by_request: The request that started it reports to the manager when the response is complete.
        """
        self.stop_listening()
        self.send = None
        self._is_answered_by_request = answered_by_request
        self.cancel_scope.task = asyncio.get_running_loop().create_task(self._run(working))

    async def work(self, handler: Callee, payload: Any) -> None:
        """Run the handler to its end.

        Raises:
            Exception: Why it did not succeed.
        """
        if self.cancel_scope.reason is not None:
            raise self.cancel_scope.reason
        await self.complete(await self.call(handler, payload))

    async def call(self, handler: Callee, payload: Any) -> Outcome:
        """Call the handler once it is admitted, and return its outcome; see `executor.Outcome`.

        Raises:
            InvocationError: It was refused, failed, ran out of time, or was stopped.
            ClientGoneError: The caller disconnected.
        """
        manager = self._manager
        if manager.recorder is not None:
            manager.recorder.started(self.context)
        if manager.admission is not None and not manager.admission.try_acquire(self):
            await self.wait_for_admission(manager.admission)
        self.admitted = True
        self.state = "running"
        if self.durable:
            self.started_at, self.is_accepted = time.time(), True
        if self.durable or self.in_process:
            self._wake_subscribers()
        return await self.cancel_scope.run(self._called(handler, payload))

    async def _called(self, handler: Callee, payload: Any) -> Outcome:
        outcome = None
        try:
            if handler.in_thread:
                outcome = call_in_thread(self._manager.workers, handler.call, payload, self.context)
                outcome = await outcome  # if cancelled just when it is done, `outcome` is still the future
            else:
                outcome = handler.call(payload, self.context)
            if type(outcome) is CoroutineType or must_await(outcome):
                outcome = outcome_of(await outcome)
                if type(outcome) is not bytes and must_await(outcome):
                    outcome = await outcome
        except BaseException:
            abandon(outcome)
            outcome = None  # a future that failed refers to this frame
            raise
        return outcome

    async def wait_for_admission(self, admission: Admission) -> None:
        """Wait until it is admitted. Raises the refusal, or the reason why it was stopped meanwhile."""
        await self.cancel_scope.run(self._admitted_by(admission), is_agents=False)

    async def _admitted_by(self, admission: Admission) -> None:
        await admission.acquire(self)
        self.admitted = True
        if self._manager.recorder is not None:
            self._manager.recorder.admitted(self.context)

    async def complete(self, outcome: Outcome) -> None:
        """Process the handler's outcome to its end.

        Raises:
            Exception: Why it did not succeed.
        """
        if self.durable:
            self.report.take()
        if type(outcome) is bytes:
            self.form, self.streams = "value", self.wants == "stream"
            if self.typed:
                put_all(self.log, self._begin_events().whole(outcome))
            elif self._log is not None:
                self._log.put(one_line(outcome))
            self.succeed(outcome)
        elif is_stream(outcome):
            self.form, self.streams = "stream", self.wants != "json"
            self._wake_subscribers()
            self.context._extend_to(self.stream_timeout)
            if self.durable:
                self.log.reported = self.report.waiting
            framing = Framing(self._begin_events, typed=self.typed)
            await self.cancel_scope.run(produce(outcome, self.log, self.context, self._manager.workers, framing))
            if (framer := framing.framer) is None:
                return self.succeed()
            put_all(self.log, framer.finish())
            self.log.only_text = framer.only_text
            self.succeed(framer.result, interrupts=framer.interrupts)
        else:
            await self._complete_with_response(outcome)

    def _begin_events(self) -> EncodedFramer:
        """Make the log typed from here on, and return the encoder of its events."""
        from ..events.framer import EncodedFramer  # for agents with events only

        self.log.typed = True
        framer = EncodedFramer(self.context)
        recorder = self._manager.recorder
        if recorder is not None and recorder.observer is not None:
            framer.on_events = partial(recorder.observer.events, self.context)
        return framer

    async def _complete_with_response(self, response: Any) -> None:
        self.form = "response"
        if self.in_process:
            self.own_response = response
            return self.succeed()
        begun = not self.durable and any(subscriber.begun for subscriber in self.subscribers)
        held = None if begun else held_response(response)
        if held is not None:
            status, headers, body = held
            self.succeed(status=status, headers=headers, body=body)
            return await after_sending(response, self.context)
        self._wake_subscribers()
        taker = taker_of(response, self.subscribers)
        await self.send_response(response, taker.take_channel(), has_head=taker.begun)
        self.succeed()

    async def send_response(self, response: Any, channel: Channel, *, has_head: bool = False) -> None:
        """Let a response object of the handler send itself, within the time limit of a stream.

        Args:
            response: The object.
            channel: The caller's connection.
            has_head: It continues a stream that has begun.

        Raises:
            AnswerCutError: It failed or was stopped after it had begun; its cause says why.
            Exception: It failed, or was stopped, before.
        """
        self.context._extend_to(self._keeper.config.stream_timeout)
        own_headers = headers_of(self.context)

        async def send_on(message: Message) -> None:
            nonlocal has_head
            if message["type"] == "http.response.start":
                self.head_sent = True
                if has_head:
                    return  # the begun stream continues
                has_head = True
                message = {**message, "headers": [*message.get("headers", []), *own_headers]}
            else:
                self.sent_bytes += len(message.get("body", b""))
            await channel.send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.cancel_scope.close()  # the response is complete

        try:
            await self.cancel_scope.run(response(channel.scope, channel.receive, send_on))
        except Exception as error:
            if has_head:
                raise AnswerCutError from error
            raise

    async def _run(self, working: Coroutine[Any, Any, None]) -> None:
        current_context.set(self.context)  # in this task and what it starts
        failure: BaseException | None = None
        try:
            await working
        except Exception as error:  # noqa: BLE001  # becomes the response
            failure = error.__cause__ if isinstance(error, AnswerCutError) else error
            self.fail(failure or error)
        except BaseException as error:  # the loop ends
            failure = error
            self.fail(InvocationCancelledError("The invocation was cancelled."))
            raise
        finally:
            working.close()
            if not self._is_answered_by_request:
                self._manager.finish(self, failure)
            del failure  # its traceback holds this frame

    def stop(self, reason: Exception) -> None:
        """End it early. Async code is cancelled, a `def` handler sees `context.cancelled`, callers get the reason."""
        if self.cancel_scope.reason is not None or self.ending is not None:
            return
        if self.form == "stream" or (self._log is not None and not self.durable):
            # Readers of a stream don't have to wait until its generator has cleaned up.
            asyncio.get_running_loop().call_soon(self.fail, reason)
        self.cancel_scope.cancel(reason)

    def cancel(self) -> None:
        """Stop it on request."""
        self.stop(InvocationCancelledError("The invocation was cancelled."))

    def on_tick(self, now: float) -> None:
        """Check deadline, disconnect and cancel, at every tick of the clock.

        Args:
            now: The loop's time.
        """
        self._ticks += 1
        if self._ticks == TICKS_UNHEARD + 1 and self._receive is not None:
            self._listener = listen(self._receive, partial(self.stop, ClientGoneError()))
        if (reason := self.cancel_scope.reason) is None:
            if self.context.remaining() <= 0:
                self.stop(InvocationTimeoutError(f"The agent did not finish within {self.context.timeout:g} s."))
            elif self._abandoned_at is not None and now - self._abandoned_at >= (self.window_seconds or 0.0):
                self._give_up()
        elif self.cancel_scope.is_ignored(now):
            if self.send is None:
                self.fail(reason)
            elif not (self.forced or self.head_sent):
                self.forced = True
                self._manager.force_response(self)

    def postpone(self, seconds: float, before: float) -> None:
        """See `ticker.Watched`."""
        self.context._postpone(seconds, before)
        if self._abandoned_at is not None and self._abandoned_at < before:
            self._abandoned_at += seconds

    def stop_listening(self) -> None:
        """Ignore disconnects of the caller from now on."""
        if self._listener is not None:
            self._listener.cancel()
        self._receive = None

    def on_left(self, subscriber: Subscriber) -> None:
        """Stop the work when the last subscriber has left: at once, or when the resume window is over."""
        if subscriber.took_response and self.durable:
            self.stop(InvocationCancelledError("The invocation was cancelled: its caller hung up."))
        elif not self.subscribers and self.window_seconds is not None:
            self._abandoned_at = asyncio.get_running_loop().time()
            if not self.window_seconds:
                self._give_up()

    def _give_up(self) -> None:
        sentence = "The invocation was cancelled: its caller stopped waiting."
        self.stop(InvocationCancelledError(sentence) if self.durable else ClientGoneError())

    @cached_property
    def report(self) -> Reports:
        """Adds progress events to its log, from any thread."""
        return Reports(self)

    def _close(self, state: State, answer: Answer) -> None:
        if self.durable:
            self.report.take()
        super()._close(state, answer)

    def on_queue(self) -> None:
        """Record that it waits in the queue."""
        self.is_accepted = True
        self._wake_subscribers()

    def count_sent(self) -> None:
        """Set `sent_bytes` and `sent_chunks` for metrics; bytes sent by its request are counted there."""
        if self._log is not None and self.streams:
            self.sent_chunks = self._log.taken_chunks if self._is_answered_by_request else self._log.chunks
        if self.durable and self.answer is not None:
            self.sent_bytes = self.answer.size
            if self.form == "value":
                self.sent_chunks = 1
            elif self._log is not None:
                self.sent_bytes = self.kept_log.made_bytes
