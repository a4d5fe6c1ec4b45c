"""One invocation, from its start to what is kept of it.

queued ──> running ──> succeeded
│          ├──────> failed
└──────────┴──────> cancelled

A queued one can fail too: its time was up, or it was refused after its caller had been told 202.

There is one way to work: call the handler, put what it makes into the log or keep it as the value, close. JSON,
streams, 202, resumed streams, `app.invoke` and WebSockets are subscribers. There is one way to stop: the first reason
counts, the code is told, and whoever waits gets the reason.

A call that nobody can come back to and that wants a value runs in the task of its request, without a log and without a
subscriber: a task more would cost more than everything else. Any other has a task of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic_core import to_json

from ppio_agent_models import EventsEvictedError, InvocationCancelledError, InvocationTimeoutError

from .._engine.context import current_context
from .._problems import ClientGoneError, handler_failure, problem_of
from ..http.responses import AnswerCutError, envelope, headers_of, is_failure, log_failure, with_result
from ..http.sse import as_one_value, one_line
from .event_log import NOT_READING, EventLog
from .executor import abandon, call_in_thread, is_stream, must_await, outcome_of, produce
from .memory_budget import FixedShare
from .own_response import after_sending, held_response, taker_of
from .store import KeyScope, StoredInvocation
from .subscriber import TICKS_UNHEARD, Subscriber, disconnected

if TYPE_CHECKING:
    from .._asgi import Headers, Message, Receive, Send
    from .._engine.context import RequestContext
    from .._engine.handler import Callee
    from .executor import Outcome
    from .manager import Admission, InvocationManager
    from .store import Form, State
    from .subscriber import Channel

CANCEL_GRACE_SECONDS: Final = 1.0
"""How long an answer waits for cancelled code to finish its `finally` blocks before it goes out without it."""


class Invocation:
    """An invocation.

    Args:
        manager: Whose it is.
        context: Who asks, under which ids and limits.
        receive: Where its caller's hanging up is heard, if it runs in the task of its request.
        send: Where this caller is answered.

    Attributes:
        context: The same.
        send: The same.
        state: See the module's docstring.
        task: Which one works for it, once that is known.
        wants: The form of answer that was asked for; None to let the handler's result decide.
        stream_timeout: How many seconds a stream may take from the start.
        durable: Somebody may come back to it: its events are numbered and kept, and it is found after its end.
        in_process: Its caller takes response objects of the handler as they are.
        window_seconds: How long it goes on when nobody subscribes; 0 to stop at once, None to go on to its end.
        scope: Of its idempotency key, if it was asked with one.
        fingerprint: Digest of its body, to tell another request under the same key.
        subscribers: Who waits for it or reads it.
        stop_reason: Why it was stopped, or None.
        admitted: It was let in, and must be seen out.
        is_accepted: It runs, waits in the queue or is over: it will not be refused any more.
        is_refused: It was refused, or the service drained, before the handler began.
        was_interrupted: Its process ended before it did; how many events there were is not known.
        form: What the handler made, once that is known.
        value: The result as JSON, where it is a value.
        error: Why it did not succeed.
        status: HTTP status of its answer, once it is over, as for what follows.
        headers: Further response headers; of a response object of the handler all of them.
        body: Of a response object of the handler, if it can be sent again.
        own_response: The response object itself, for a caller in process.
        head_sent: A response object of the handler has begun to send itself: no other answer can follow.
        forced: Its caller was told though the stopped handler refused to end.
        streams: Its answer is a stream.
        sent_bytes: Size of the answer's body so far.
        sent_chunks: How many chunks of the stream are in it.
    """

    # Defaults of the class instead of slots that are filled for each of them: 25 stores less, 0.5 us.
    state: State = "queued"
    task: asyncio.Task[Any] | None = None
    wants: Literal["json", "stream"] | None = None
    stream_timeout = float("inf")
    durable = False
    in_process = False
    window_seconds: float | None = 0.0
    scope: KeyScope | None = None
    fingerprint = b""
    stop_reason: Exception | None = None
    admitted = False
    is_accepted = False
    is_refused = False
    was_interrupted = False
    created_at = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    form: Form | None = None
    value: bytes | None = None
    error: BaseException | None = None
    status = 200
    headers: Headers = ()  # type: ignore[assignment]  # never added to
    body: bytes | None = None
    own_response: Any = None
    head_sent = False
    forced = False
    streams = False
    sent_bytes = 0
    sent_chunks = 0
    _envelope: bytes | None = None
    _duration = 0.0
    _log: EventLog | None = None
    _stored: StoredInvocation | None = None
    _is_answered_by_request = True
    _is_cancellable = False
    _stopped_at = 0.0
    _abandoned_at: float | None = None
    _ticks = 0
    _listener: asyncio.Task[None] | None = None

    def __init__(
        self,
        manager: InvocationManager,
        context: RequestContext,
        receive: Receive | None = None,
        send: Send | None = None,
    ) -> None:
        self.context = context
        self.send = send
        self.subscribers: dict[Subscriber, None] = {}
        self._manager = manager
        self._receive = receive

    @property
    def id(self) -> str:
        """Its id."""
        return self.context.invocation_id

    @property
    def is_over(self) -> bool:
        """Whether the state is final. Where its request answers, nobody asks."""
        return self.finished_at is not None

    @property
    def has_form(self) -> bool:
        """Whether it is known what the handler made, or that nothing will come of it."""
        return self.form is not None or self.finished_at is not None

    @property
    def first_chunk(self) -> float | None:
        """When the first chunk of the stream was there, in seconds from the beginning."""
        at = None if self._log is None else self._log.first_chunk_at
        return None if at is None else max(0.0, at - self.context.started)

    # Working

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
        self.raise_if_stopped()
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
            self._note_begin()
        outcome = None
        self._is_cancellable = True
        try:
            if handler.in_thread:
                outcome = await call_in_thread(manager.workers, handler.call, payload, self.context)
            else:
                outcome = handler.call(payload, self.context)
            if type(outcome) is CoroutineType or must_await(outcome):
                outcome = outcome_of(await outcome)
        except GeneratorExit:  # the loop is gone, and this coroutine is thrown away with it
            raise
        except BaseException as error:  # noqa: BLE001  # sys.exit() ends an invocation, not the service
            if self.stop_reason is None:
                self._raise_failure(error)
        finally:
            self._is_cancellable = False
        if self.stop_reason is not None:
            abandon(outcome)
            self._raise_stopped()
        return outcome

    async def wait_for_admission(self, admission: Admission) -> None:
        """Wait until the invocation is let in; whatever stops it ends the wait.

        Raises:
            InvocationError: It was refused, or it was stopped meanwhile.
            ClientGoneError: The caller hung up.
        """
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
            self.streams = self.wants == "stream"
            self.form, self.value = "value", outcome
            if self._log is not None:
                self._log.put(one_line(outcome))
            self._close("succeeded")
        elif is_stream(outcome):
            self.form, self.streams = "stream", self.wants != "json"
            self._wake_subscribers()
            self.context.extend_to(self.stream_timeout)
            await self._guarded(produce(outcome, self.log, self.context, self._manager.workers))
            self._close("succeeded")
        else:
            await self._complete_with_response(outcome)

    async def _complete_with_response(self, response: Any) -> None:
        self.form = "response"
        if self.in_process:
            self.own_response = response
            return self._close("succeeded")
        begun = not self.durable and any(subscriber.begun for subscriber in self.subscribers)
        held = None if begun else held_response(response)
        if held is not None:
            self.status, self.headers, self.body = held
            self._close("succeeded")
            return await after_sending(response, self.context)
        self._wake_subscribers()
        taker = taker_of(response, self.subscribers)
        channel = taker.take_channel()
        self.head_sent = taker.begun
        await self.send_response(response, channel)
        self._close("succeeded")

    async def send_response(self, response: Any, channel: Channel) -> None:
        """Let a response object of the handler send itself, with our ids added to its headers, in the time of a stream.

        Raises:
            AnswerCutError: It failed or was stopped after it had begun; its cause says why.
            Exception: It failed, or was stopped, before.
        """
        self.context.extend_to(self._manager.config.stream_timeout)
        extra = headers_of(self.context)

        async def send_with_ids(message: Message) -> None:
            if message["type"] == "http.response.start":
                if self.head_sent:
                    return  # its events go on in a stream that has begun
                self.head_sent = True
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            else:
                self.sent_bytes += len(message.get("body", b""))
            await channel.send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._is_cancellable = False  # what it still does afterwards is not stopped

        try:
            await self._guarded(response(channel.scope, channel.receive, send_with_ids))
        except Exception as error:
            if self.head_sent:
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
        self._is_cancellable = True
        try:
            await working
        except GeneratorExit:  # the loop is gone, and this coroutine is thrown away with it
            raise
        except BaseException as error:  # noqa: BLE001  # sys.exit() ends an invocation, not the service
            if self.stop_reason is None:
                self._raise_failure(error)
        finally:
            self._is_cancellable = False
        if self.stop_reason is not None and self._stopped_at:
            self._raise_stopped()

    def _raise_failure(self, error: BaseException) -> None:
        """Raise what came out of the agent's code as callers are told of it; a cancel from outside goes on as it is."""
        if isinstance(error, asyncio.CancelledError) and self.task is not None and self.task.cancelling():
            self.context.cancel()
            raise error
        if isinstance(error, ClientGoneError):
            raise error
        failure = handler_failure(error)
        if failure is error:
            raise error
        raise failure from failure.__cause__

    def _raise_stopped(self) -> None:
        """Raise why it was stopped, and take back the cancel of `stop`, so that the task can go on and answer."""
        assert self.stop_reason is not None
        if self._stopped_at and self.task is not None and self.task.cancelling():
            self.task.uncancel()
        raise self.stop_reason

    # Stopping

    def stop(self, reason: Exception) -> None:
        """End it early. Async code is cancelled, a `def` handler sees `context.cancelled`, callers are told."""
        if self.stop_reason is not None or self.finished_at is not None:
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

    def raise_if_stopped(self) -> None:
        """Raise why it was stopped, if it was."""
        if self.stop_reason is not None:
            raise self.stop_reason

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
            self._answer_without_the_handler()

    def postpone(self, seconds: float, before: float) -> None:
        """See `ticker.Watched`."""
        self.context.postpone(seconds, before)
        if self._abandoned_at is not None and self._abandoned_at < before:
            self._abandoned_at += seconds

    def _answer_without_the_handler(self) -> None:
        if self.send is None:
            self.fail(self.stop_reason)
        elif not (self.forced or self.head_sent):
            self.forced = True
            self._manager.force_response(self)

    async def _listen(self, receive: Receive) -> None:
        with suppress(asyncio.CancelledError):
            await disconnected(receive)
            self.stop(ClientGoneError())

    def stop_listening(self) -> None:
        """Do not care any more for the caller whose request's task works."""
        if self._listener is not None:
            self._listener.cancel()
        self._receive = None

    # Subscribers

    def subscribe(
        self,
        *,
        position: int | None = None,
        receive: Receive | None = None,
        heartbeat_seconds: float = float("inf"),
        channel: Channel | None = None,
    ) -> Subscriber:
        """Return a new subscriber; see `Subscriber` for the arguments.

        Args:
            position: As there; None for the first event, so that nothing is forgotten before it is known whether the
                caller reads, unless something has been already.

        Raises:
            EventsEvictedError: Some of the events after `position` are not held any more.
        """
        if position is None:
            position = 0 if self._log is None or self._log.first_id == 1 else NOT_READING
        elif position != NOT_READING:
            self.log.check_held(position)
        subscriber = Subscriber(self, position, receive, heartbeat_seconds, channel)
        self.subscribers[subscriber] = None
        self._abandoned_at = None
        self._manager.ticker.watch(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Note that a subscriber has left. See `Subscriber`."""
        if subscriber not in self.subscribers:
            return
        del self.subscribers[subscriber]
        self._manager.ticker.forget(subscriber)
        if self._log is not None:
            self._log.look_again()
        if self.is_over:
            return
        if subscriber.took_response and self.durable:
            self.stop(InvocationCancelledError("The invocation was cancelled: its caller hung up."))
        elif not self.subscribers and self.window_seconds is not None:
            self._abandoned_at = asyncio.get_running_loop().time()
            if not self.window_seconds:
                self._give_up()

    def _give_up(self) -> None:
        sentence = "The invocation was cancelled: nobody waited for it any more."
        self.stop(InvocationCancelledError(sentence) if self.durable else ClientGoneError())

    def _wake_subscribers(self) -> None:
        for subscriber in self.subscribers:
            subscriber.wake()

    # What it said, and how it ended

    @property
    def log(self) -> EventLog:
        """Its events. Most invocations make a value, and have none unless somebody reads or reports something."""
        if self._log is None:
            share = None
            if self.durable:
                share = FixedShare(0) if self.is_over else self._manager.share()
            self._log = log = EventLog(self.subscribers, share, keeps_unread=self.window_seconds is not None)
            stored = self._stored
            if stored is not None and stored.events is not None:
                log.restore(stored.events)
            elif self.is_over:
                if self.value is not None:
                    log.put(one_line(self.value))
                log.close(b"done" if self.state == "succeeded" else b"error", self.envelope)
        return self._log

    @property
    def last_event_id(self) -> int:
        """Number of the newest event, 0 before the first."""
        if self._log is None and self._stored is None:
            return (self.value is not None) + self.is_over if self.durable else 0
        return self.log.last_id if self.durable else 0

    @property
    def held_bytes(self) -> int:
        """Bytes held of what it said and is answered with, about."""
        held = len(self.value or b"") + len(self._envelope or b"") + len(self.body or b"")
        return held + (0 if self._log is None else self._log.held_bytes)

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

    def said_nothing(self, *, numbered: bool) -> bool:
        """Say whether it ended without an event that its callers are told of: in an error, or with its own response.

        Args:
            numbered: They speak protocol 1, and are told of progress too.
        """
        if not self.is_over or (self.state == "succeeded" and self.form != "response"):
            return False
        return self.last_event_id <= 1 if numbered else not self.log.has_chunks

    @property
    def envelope(self) -> bytes:
        """The answer without its result as JSON, once it is over."""
        if self._envelope is None:
            context = self.context
            self._envelope = envelope(b"null", context.request_id, context.session_id, self._duration)
        return self._envelope

    def answer(self, chunks: list[bytes] | None = None) -> bytes:
        """Return the whole answer as JSON, once it is over.

        Args:
            chunks: Those of a stream, where somebody has them all; otherwise the log is asked.

        Raises:
            EventsEvictedError: It was a stream, and the beginning of it is not held any more.
        """
        if self.state != "succeeded" or self.form == "response":
            return self.envelope
        if self.value is not None:
            return with_result(self.value, self.envelope)
        if chunks is None:
            chunks = self.log.collected()
        if chunks is None:
            raise EventsEvictedError(
                "The stream was longer than its log, so it is not held as one value; read its events from "
                f"{self.log.first_id} on.",
                first_event_id=self.log.first_id,
            )
        return with_result(as_one_value(chunks, only_text=self.log.only_text), self.envelope)

    def resource(self) -> bytes:
        """Return it as JSON; where the result is not held as one value, `first_event_id` says so."""
        response, first_event_id = b"null", None
        if self.is_over:
            try:
                response = self.answer()
            except EventsEvictedError as error:
                response, first_event_id = self.envelope, error.first_event_id
        created_at = self.created_at or time.time() - self.context.elapsed()
        started_at = None if self.state == "queued" else self.started_at or created_at
        facts = {
            "invocation_id": self.id,
            "state": self.state,
            "created_at": _iso_time(created_at),
            "started_at": _iso_time(self.started_at if self.is_over else started_at),
            "finished_at": _iso_time(self.finished_at),
            "last_event_id": self.last_event_id,
            "first_event_id": first_event_id,
        }
        return b'%b,"response":%b}' % (to_json(facts)[:-1], response)

    def fail(self, error: BaseException | None) -> None:
        """End it with an error; only the first end counts."""
        if self.is_over or error is None:
            return
        context = self.context
        self.error = error
        if self.durable and isinstance(error, ClientGoneError):
            error = InvocationCancelledError("The invocation was cancelled: nobody waited for it any more.")
        problem = problem_of(error, request_id=context.request_id, tells_errors=self._manager.config.tells_errors)
        if is_failure(error, problem.status) and not isinstance(error, ClientGoneError):
            log_failure(error, context.request_id, context)
        self.status, self.headers = problem.status, problem.headers
        self._envelope = problem.envelope(context.request_id, context.session_id, context.elapsed())
        is_cancelled = isinstance(error, InvocationCancelledError | ClientGoneError)
        if not (is_cancelled or isinstance(error, InvocationTimeoutError)):
            self.is_refused = self.started_at is None
        self._close("cancelled" if is_cancelled else "failed")

    def _note_begin(self) -> None:
        self.started_at = time.time()
        self.is_accepted = True
        self._wake_subscribers()

    def _close(self, state: State) -> None:
        if self.is_over:
            return
        was_accepted = self.is_accepted
        self.state = state
        self.finished_at = time.time()
        self._duration = self.context.elapsed()
        self.is_accepted = True
        self._abandoned_at = None
        if self._log is not None:
            is_told = self.durable or state != "succeeded"
            self._log.close(b"done" if state == "succeeded" else b"error", self.envelope if is_told else b"")
        if self.durable:
            self._manager.keep_finished(self, was_accepted=was_accepted)
        self._wake_subscribers()

    def count_sent(self) -> None:
        """Note how much it said, for those who count; what its request has sent is counted there."""
        if self._log is not None and self.streams:
            self.sent_chunks = self._log.taken_chunks if self._is_answered_by_request else self._log.chunks
        if self.durable:
            if self.value is not None:
                self.sent_chunks, self.sent_bytes = 1, len(self.value) + len(self.envelope)
            elif self._log is not None:
                self.sent_bytes = self._log.made_bytes
            else:
                self.sent_bytes = len(self.envelope) + len(self.body or b"")

    # Beyond its process

    def stored(self, *, with_events: bool = False) -> StoredInvocation:
        """Return it as plain data.

        Args:
            with_events: Also those that follow from the value and the envelope.
        """
        has_events = self.is_over and (with_events or self._log is not None)
        return StoredInvocation(
            id=self.id,
            scope=self.scope,
            fingerprint=self.fingerprint,
            state=self.state,
            form=self.form,
            request_id=self.context.request_id,
            session_id=self.context.session_id,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            status=self.status,
            envelope=self.envelope if self.is_over else b"",
            value=self.value,
            headers=list(self.headers),
            body=self.body,
            events=self.log.held() if has_events else None,
        )

    @classmethod
    def restored(cls, manager: InvocationManager, context: RequestContext, stored: StoredInvocation) -> Invocation:
        """Return an invocation that is over from what was kept of it.

        Args:
            context: With its ids.
        """
        invocation = cls(manager, context)
        invocation.durable, invocation.window_seconds = True, None
        invocation.scope, invocation.fingerprint = stored.scope, stored.fingerprint
        invocation.state, invocation.form, invocation.is_accepted = stored.state, stored.form, True
        invocation.created_at, invocation.started_at = stored.created_at, stored.started_at
        invocation.finished_at = stored.finished_at
        invocation.status, invocation.headers, invocation.body = stored.status, stored.headers, stored.body
        invocation.value, invocation._envelope = stored.value, stored.envelope
        invocation.was_interrupted = stored.interrupted
        invocation._stored = stored
        return invocation

    def resume_interrupted(self, after: int) -> None:
        """Let the log of an interrupted invocation go on behind event `after`, the last one that somebody has."""
        assert self._stored is not None
        assert self._stored.events is not None
        self._log = EventLog(self.subscribers, FixedShare(0))
        self._log.restore(self._stored.events, closes_at=after + 1)


def _iso_time(moment: float | None) -> str | None:
    """Return a time in unix seconds as ISO 8601 has it, in UTC."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
