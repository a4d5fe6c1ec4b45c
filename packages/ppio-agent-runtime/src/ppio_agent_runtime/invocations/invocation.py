"""One invocation at work: called, watched, stopped.

There is one way to work: call the handler, put what it makes into the log or keep it as the value, close. JSON,
streams, 202, resumed streams, `app.invoke` and WebSockets are subscribers. There is one way to stop: the first reason
counts, the code is told, and whoever waits gets the reason.

A call that nobody can come back to and that wants a value runs in the task of its request, without a log and without a
subscriber: a task more would cost more than everything else. Any other has a task of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from ppio_agent_models import InvocationCancelledError, InvocationTimeoutError

from ..context import current_context
from ..errors import ClientGoneError, handler_failure
from ..http.responses import AnswerCutError, after_sending, headers_of, held_response
from ..http.sse import one_line
from .executor import abandon, call_in_thread, is_stream, must_await, outcome_of, produce
from .subscriber import TICKS_UNHEARD, disconnected, taker_of
from .transcript import Keeper, Transcript

if TYPE_CHECKING:
    from ..asgi import Message, Receive, Send
    from ..context import RequestContext
    from ..handler import Callee
    from ..observability.recorder import InvocationRecorder
    from .executor import Outcome
    from .subscriber import Channel, Subscriber
    from .worker_threads import WorkerThreads

CANCEL_GRACE_SECONDS: Final = 1.0
"""How long an answer waits for cancelled code to finish its `finally` blocks before it goes out without it."""


class Admission(Protocol):
    """What stands between a parsed request and the agent: rate limits, concurrency, queues.

    Both ways to acquire raise the `InvocationError` with which one is refused; its caller is told this.
    """

    def try_acquire(self, invocation: Invocation) -> bool:
        """Let it in if that can be said at once; False when `acquire` is to be waited for."""

    async def acquire(self, invocation: Invocation) -> None:
        """Let it in, at once or later, where `try_acquire` did not. Deadline, disconnect and drain end the wait."""

    def release(self, invocation: Invocation) -> None:
        """Note that one which came in is over, its code included. Called once for each."""

    def drain(self) -> None:
        """Refuse those who wait: the service shuts down."""


class Manager(Keeper, Protocol):
    """What an invocation needs of the manager; see `manager.InvocationManager`."""

    workers: WorkerThreads
    admission: Admission | None
    recorder: InvocationRecorder | None
    force_response: Callable[[Invocation], None]

    async def keep_begun(self, invocation: Transcript) -> None:
        """Return once the store knows an invocation that begins."""

    def finish(self, invocation: Invocation, failure: BaseException | None) -> None:
        """Note that the answer is complete."""


class Invocation(Transcript):
    """An invocation; see `Transcript` for what is known of it.

    Args:
        manager: Whose it is.
        context: Who asks, under which ids and limits.
        receive: Where its caller's hanging up is heard, if it runs in the task of its request.
        send: Where this caller is answered.

    Attributes:
        task: Which one works for it, once that is known.
        wants: The form of answer that was asked for; None to let the handler's result decide.
        stream_timeout: How many seconds a stream may take from the start.
        in_process: Its caller takes response objects of the handler as they are.
        own_response: Such an object.
        stop_reason: Why it was stopped, or None.
        admitted: It was let in, and must be seen out.
        forced: Its caller was told though the stopped handler refused to end.
        streams: Its answer is a stream.
        sent_chunks: How many chunks of the stream are in it.
    """

    _manager: Manager
    task: asyncio.Task[Any] | None = None
    wants: Literal["json", "stream"] | None = None
    stream_timeout = float("inf")
    in_process = False
    own_response: Any = None
    stop_reason: Exception | None = None
    admitted = False
    forced = False
    streams = False
    sent_chunks = 0
    _is_answered_by_request = True
    _is_cancellable = False
    _stopped_at = 0.0
    _ticks = 0
    _listener: asyncio.Task[None] | None = None

    def __init__(
        self,
        manager: Manager,
        context: RequestContext,
        receive: Receive | None = None,
        send: Send | None = None,
    ) -> None:
        super().__init__(manager, context)
        self.send = send
        self._receive = receive

    def start(self, working: Coroutine[Any, Any, None], *, answered_by_request: bool = False) -> None:
        """Work in a task of its own.

        Args:
            working: `work` or `complete`.
            answered_by_request: The request that began it tells the manager when the answer is complete.
        """
        self.stop_listening()
        self.send = None
        self._is_answered_by_request = answered_by_request
        self.task = asyncio.get_running_loop().create_task(self._run(working))

    async def work(self, handler: Callee, payload: Any) -> None:
        """Run the handler to its end.

        Raises:
            Exception: Why it did not succeed.
        """
        if self.durable:
            await self._manager.keep_begun(self)  # before the agent's code: after a crash it must not run again
        if self.stop_reason is not None:
            raise self.stop_reason
        await self.complete(await self.call(handler, payload))

    async def call(self, handler: Callee, payload: Any) -> Outcome:  # noqa: C901  # the hot path of a plain call
        """Call the handler once it is admitted, and return what came of it; see `executor.Outcome`.

        Raises:
            InvocationError: It was refused, failed, ran out of time, or was stopped.
            ClientGoneError: The caller hung up.
        """
        manager = self._manager
        if self.task is None:
            self.task = asyncio.current_task()
        if manager.recorder is not None:
            manager.recorder.started(self.context)
        if manager.admission is not None and not manager.admission.try_acquire(self):
            await self.wait_for_admission(manager.admission)
        self.admitted = True
        self.state = "running"
        if self.durable:
            self.started_at, self.is_accepted = time.time(), True
            self._wake_subscribers()
        outcome = failure = None
        self._is_cancellable = True
        try:
            if handler.in_thread:
                outcome = call_in_thread(manager.workers, handler.call, payload, self.context)
                outcome = await outcome  # a cancel in the turn in which it is there leaves it in the future
            else:
                outcome = handler.call(payload, self.context)
            if type(outcome) is CoroutineType or must_await(outcome):
                outcome = outcome_of(await outcome)
        except GeneratorExit:  # the loop is gone, and this coroutine is thrown away with it
            raise
        except BaseException as error:  # noqa: BLE001  # sys.exit() ends an invocation, not the service
            abandon(outcome)
            outcome = None  # a future that failed refers to this frame
            failure = None if self.stop_reason is not None else self._failure_of(error)
        finally:
            self._is_cancellable = False
        if self.stop_reason is not None:
            abandon(outcome)
            self._raise_stopped()
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame
        return outcome

    async def wait_for_admission(self, admission: Admission) -> None:
        """Wait until it is let in. It raises why it was refused, or why it was stopped meanwhile."""
        self.task = self.task or asyncio.current_task()
        self._is_cancellable = True
        try:
            await admission.acquire(self)
            self.admitted = True
        except asyncio.CancelledError:
            if self.stop_reason is None:
                self.context.cancel()
                raise
        finally:
            self._is_cancellable = False
        if self.stop_reason is not None:
            self._raise_stopped()

    async def complete(self, outcome: Outcome) -> None:
        """Take what the handler made to its end.

        Raises:
            Exception: Why it did not succeed.
        """
        if type(outcome) is bytes:
            self.form, self.streams = "value", self.wants == "stream"
            if self._log is not None:
                self._log.put(one_line(outcome))
            self.succeed(outcome)
        elif is_stream(outcome):
            self.form, self.streams = "stream", self.wants != "json"
            self._wake_subscribers()
            self.context.extend_to(self.stream_timeout)
            await self._guarded(produce(outcome, self.log, self.context, self._manager.workers))
            self.succeed()
        else:
            await self._complete_with_response(outcome)

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
        """Let a response object of the handler send itself, in the time of a stream.

        Args:
            response: The object.
            channel: Where to.
            has_head: It is to go on in a stream that has begun.

        Raises:
            AnswerCutError: It failed or was stopped after it had begun; its cause says why.
            Exception: It failed, or was stopped, before.
        """
        self.context.extend_to(self._manager.config.stream_timeout)
        own_headers = headers_of(self.context)

        async def send_on(message: Message) -> None:
            nonlocal has_head
            if message["type"] == "http.response.start":
                self.head_sent = True
                if has_head:
                    return  # its events go on
                has_head = True
                message = {**message, "headers": [*message.get("headers", []), *own_headers]}
            else:
                self.sent_bytes += len(message.get("body", b""))
            await channel.send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._is_cancellable = False  # the answer is complete

        async def answer() -> None:
            await response(channel.scope, channel.receive, send_on)

        try:
            await self._guarded(answer())
        except Exception as error:
            if has_head:
                raise AnswerCutError from error
            raise

    async def _run(self, working: Coroutine[Any, Any, None]) -> None:
        current_context.set(self.context)  # in this task and what it starts
        failure: BaseException | None = None
        try:
            await working
        except Exception as error:  # noqa: BLE001  # becomes the answer
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

    async def _guarded(self, working: Coroutine[Any, Any, None]) -> None:
        """Let code of the agent work, which `stop` cancels."""
        failure = None
        self._is_cancellable = True
        try:
            await working
        except GeneratorExit:  # the loop is gone, and this coroutine is thrown away with it
            raise
        except BaseException as error:  # noqa: BLE001  # sys.exit() ends an invocation, not the service
            failure = None if self.stop_reason is not None else self._failure_of(error)
        finally:
            self._is_cancellable = False
        if self.stop_reason is not None and self._stopped_at:
            self._raise_stopped()
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame

    def _failure_of(self, error: BaseException) -> BaseException:
        """Return what came out of the agent's code as callers are told of it; a cancel from outside as it is."""
        if isinstance(error, ClientGoneError):
            return error
        if isinstance(error, asyncio.CancelledError) and self.task is not None and self.task.cancelling():
            self.context.cancel()
            return error
        return handler_failure(error)

    def _raise_stopped(self) -> None:
        """Raise why it was stopped, and take back the cancel of `stop`, so that the task can go on and answer."""
        assert self.stop_reason is not None
        if self._stopped_at and self.task is not None and self.task.cancelling():
            self.task.uncancel()
        raise self.stop_reason

    def stop(self, reason: Exception) -> None:
        """End it early. Async code is cancelled, a `def` handler sees `context.cancelled`, callers are told."""
        if self.stop_reason is not None or self.answer is not None:
            return
        self.stop_reason = reason
        self.context.cancel()
        if self.form == "stream" or (self._log is not None and not self.durable):
            # Who reads a stream need not wait until its generator has cleaned up.
            asyncio.get_running_loop().call_soon(self.fail, reason)
        if self._is_cancellable and self.task is not None:
            self._stopped_at = asyncio.get_running_loop().time()
            self.task.cancel()

    def cancel(self) -> None:
        """Stop it because somebody asked for that."""
        self.stop(InvocationCancelledError("The invocation was cancelled."))

    def on_tick(self, now: float) -> None:
        """Look after it, at every tick of the clock.

        Args:
            now: The loop's time.
        """
        self._ticks += 1
        if self._ticks == TICKS_UNHEARD + 1 and self._receive is not None:
            self._listener = asyncio.get_running_loop().create_task(self._listen(self._receive))
        if self.stop_reason is None:
            if self.context.remaining() <= 0:
                self.stop(InvocationTimeoutError(f"The agent did not finish within {self.context.timeout:g} s."))
            elif self._abandoned_at is not None and now - self._abandoned_at >= (self.window_seconds or 0.0):
                self._give_up()
        elif self._is_cancellable and 0 < self._stopped_at < now - CANCEL_GRACE_SECONDS:
            if self.send is None:
                self.fail(self.stop_reason)
            elif not (self.forced or self.head_sent):
                self.forced = True
                self._manager.force_response(self)

    def postpone(self, seconds: float, before: float) -> None:
        """See `ticker.Watched`."""
        self.context.postpone(seconds, before)
        if self._abandoned_at is not None and self._abandoned_at < before:
            self._abandoned_at += seconds

    async def _listen(self, receive: Receive) -> None:
        with suppress(asyncio.CancelledError):
            await disconnected(receive)
            self.stop(ClientGoneError())

    def stop_listening(self) -> None:
        """Do not care any more for the caller whose request's task works."""
        if self._listener is not None:
            self._listener.cancel()
        self._receive = None

    def on_left(self, subscriber: Subscriber) -> None:
        """Stop the work when the last subscriber has left, at once or when its window is over."""
        if subscriber.took_response and self.durable:
            self.stop(InvocationCancelledError("The invocation was cancelled: its caller hung up."))
        elif not self.subscribers and self.window_seconds is not None:
            self._abandoned_at = asyncio.get_running_loop().time()
            if not self.window_seconds:
                self._give_up()

    def _give_up(self) -> None:
        sentence = "The invocation was cancelled: nobody waited for it any more."
        self.stop(InvocationCancelledError(sentence) if self.durable else ClientGoneError())

    def report(self, value: bytes) -> None:
        """Add a progress event, in any thread. Nothing is added after the end."""
        if self.task is None or self.is_over:
            return
        loop = self.task.get_loop()
        try:
            is_here = asyncio.get_running_loop() is loop
        except RuntimeError:
            is_here = False
        if is_here:
            self.log.progress(one_line(value))
        else:
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(self.report, value)

    def on_queue(self) -> None:
        """Note that it waits in the queue."""
        self.is_accepted = True
        self._wake_subscribers()

    def count_sent(self) -> None:
        """Note how much it said, for those who count; what its request has sent is counted there."""
        if self._log is not None and self.streams:
            self.sent_chunks = self._log.taken_chunks if self._is_answered_by_request else self._log.chunks
        if self.durable and self.answer is not None:
            self.sent_bytes = self.answer.size
            if self.answer.value is not None:
                self.sent_chunks = 1
            elif self._log is not None:
                self.sent_bytes = self._log.made_bytes
