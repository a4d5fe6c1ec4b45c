"""The record of an invocation: its state, its events, its response and its subscribers.

queued ──> running ──> succeeded
│          ├──────> failed
└──────────┴──────> cancelled

A queued one can fail too: its time limit ended, or it was refused after its caller had got a 202.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from ppio_agent_models import EventsEvictedError, InvocationCancelledError, InvocationError, InvocationTimeoutError

from ..errors import ClientGoneError, error_response
from ..http.responses import envelope, is_failure, log_failure, with_result
from ..http.sse import as_one_value, one_line
from .event_log import NOT_READING, EventLog, PassingLog
from .kept_log import KeptLog
from .memory_store import FixedShare
from .store import Answer, Ending, KeyScope, StoredInvocation, closing_events, ending_of
from .subscriber import Subscriber

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from ..asgi import Headers, Receive
    from ..config import AgentConfig
    from ..context import RequestContext
    from .kept_log import Share
    from .publisher import Publisher
    from .store import Form, State
    from .subscriber import Channel
    from .ticker import Ticker


KEPT: Final = (
    "scope", "fingerprint", "state", "form", "created_at", "started_at", "finished_at", "interrupted", "answer",
)  # fmt: skip
"""Fields that a stored invocation has under the same name."""
_WITHHELD: Final = (
    "The agent finished, but the event store could not store the result, so it is not returned: a retry would not get "
    "the same one. The agent's log has the store's error."
)


class Keeper(Protocol):
    """The part of `durable.DurableInvocations` that a transcript uses."""

    config: AgentConfig
    ticker: Ticker

    def share(self) -> Share:
        """Return a new log's share of the memory for events."""

    def spawn(self, working: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in a task; the shutdown waits for it."""

    def keep_finished(self, invocation: Transcript) -> None:
        """Store a durable invocation that has ended, then call its `settle`."""


class Transcript:
    """The part of an invocation that outlives its work, and that a store keeps.

    Args:
        keeper: Keeps durable invocations.
        context: The caller, IDs and limits.

    Attributes:
        state: See the module's docstring.
        durable: Its events are numbered and kept, and it can be found after its end.
        window_seconds: How long it continues without subscribers; 0 to stop at once, None to continue to its end.
        scope: Its idempotency key, if it has one.
        fingerprint: Digest of its body, to detect another request with the same key.
        subscribers: The callers that wait for it or read it.
        is_accepted: It runs, waits in the queue or is over, so it will not be refused.
        is_refused: It was refused, or the service drained, before the handler began.
        interrupted: Its process ended before it did; the number of its events is unknown.
        created_at: In unix seconds, as the next two; 0 if it is not durable.
        form: What kind of result the handler returned, once that is known.
        ending: How it ended, once that is decided.
        answer: Its response, once it is over: it has ended, and a persistent store has it.
        keeping: The task that waits for the store.
        cancelling: The task that requests a cancel from another process.
        publisher: Writes its events to a shared store.
        error: Why it did not succeed.
        head_sent: A response object of the handler has begun to send itself: no other response can follow.
        sent_bytes: Size of the response's body so far.
    """

    # Class-level defaults instead of assignments in `__init__`, here and in subclasses, save 0.5 us per invocation.
    state: State = "queued"
    durable = False
    window_seconds: float | None = 0.0
    scope: KeyScope | None = None
    fingerprint = b""
    is_accepted: bool = False
    is_refused: bool = False
    interrupted = False
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    form: Form | None = None
    ending: Ending | None = None
    answer: Answer | None = None
    keeping: asyncio.Task[None] | None = None
    cancelling: asyncio.Task[None] | None = None
    publisher: Publisher | None = None
    error: BaseException | None = None
    head_sent = False
    sent_bytes: int = 0
    _log: EventLog | None = None
    _stored: StoredInvocation | None = None
    _abandoned_at: float | None = None

    def __init__(self, keeper: Keeper, context: RequestContext) -> None:
        self.context = context
        self.subscribers: dict[Subscriber, None] = {}
        self._keeper = keeper

    @property
    def id(self) -> str:
        """Its ID."""
        return self.context.invocation_id

    @property
    def is_over(self) -> bool:
        """Whether the state is final. Not used where its request responds."""
        return self.answer is not None

    @property
    def has_form(self) -> bool:
        """Whether the kind of result is known, or that there will be none."""
        return self.form is not None or self.answer is not None

    @property
    def first_chunk(self) -> float | None:
        """When the first chunk was added, in seconds from the start."""
        at = None if self._log is None else self._log.first_chunk_at
        return None if at is None else max(0.0, at - self.context.started)

    def subscribe(
        self,
        *,
        position: int | None = None,
        receive: Receive | None = None,
        heartbeat_seconds: float = float("inf"),
        channel: Channel | None = None,
        unacknowledged: Callable[[], int] | None = None,
    ) -> Subscriber:
        """Return a new subscriber; see `Subscriber` for the arguments.

        Args:
            position: As there. None keeps all events from the first one on, until it is known whether the caller
                reads; if some have been dropped already, it is `NOT_READING`.

        Raises:
            EventsEvictedError: Some of the events after `position` are no longer kept.
        """
        if position is None:
            position = 0 if self._log is None or self._log.first_id == 1 else NOT_READING
        elif position != NOT_READING:
            self.log.check_held(position)
        subscriber = Subscriber(self, position, receive, heartbeat_seconds, channel, unacknowledged)
        self.subscribers[subscriber] = None
        self._abandoned_at = None
        self._keeper.ticker.watch(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove a subscriber. See `Subscriber`."""
        if subscriber not in self.subscribers:
            return
        del self.subscribers[subscriber]
        self._keeper.ticker.forget(subscriber)
        if self._log is not None:
            self._log.look_again()
        if not self.is_over:
            self.on_left(subscriber)

    def cancel(self) -> None:
        """Stop the work on request. This class has none."""

    async def reach(self, event_id: int) -> None:
        """Wait for an event that a caller already has, if it may still arrive here."""

    def on_left(self, subscriber: Subscriber) -> None:
        """Decide about the work when a subscriber left before its end. This class has none."""

    @property
    def log(self) -> EventLog:
        """Its events, created on first use: most invocations return a value, and need no log."""
        if self._log is None:
            self._log = self._new_kept_log() if self.durable else PassingLog(self.subscribers)
            if self.ending is not None:  # a restored one has ended already
                if self.ending.answer.value is not None:
                    self._log.put(one_line(self.ending.answer.value))
                self._log.end()
                if self.is_over:
                    self._log.close(*self.ending.event)
        return self._log

    def _new_kept_log(self) -> KeptLog:
        share = FixedShare(0) if self.is_over else self._keeper.share()
        log = KeptLog(self.subscribers, share, keeps_unread=self.window_seconds is not None)
        if self.publisher is not None:
            log.recorder = self.publisher
            self.publisher.wake()
        if self._stored is not None and self._stored.events is not None:
            log.restore(self._stored.events)
        return log

    @property
    def kept_log(self) -> KeptLog:
        """The events of a durable invocation."""
        log = self.log
        assert isinstance(log, KeptLog)
        return log

    @property
    def begun_log(self) -> KeptLog | None:
        """The events of a durable invocation, if it has any yet."""
        return None if self._log is None else self.kept_log

    @property
    def last_event_id(self) -> int:
        """Number of the newest event, 0 before the first."""
        if not self.durable:
            return 0
        if self._log is not None or self._stored is not None:
            return self.log.last_id
        return 0 if self.answer is None else 1 + (self.answer.value is not None)

    @property
    def held_bytes(self) -> int:
        """Approximate size of its events and its response, in bytes."""
        held = 0 if self._log is None else self._log.held_bytes
        return held if self.answer is None else held + self.answer.size

    def said_nothing(self, *, numbered: bool) -> bool:
        """Return whether it ended, in an error or with a response object, without an event for its callers.

        Args:
            numbered: They use protocol 1, and so get progress events too.
        """
        if not self.is_over or (self.state == "succeeded" and self.form != "response"):
            return False
        return self.last_event_id <= 1 if numbered else not self.log.has_chunks

    def whole_answer(self, chunks: list[bytes] | None = None) -> bytes:
        """Return the envelope as JSON with its result, once it is over.

        Args:
            chunks: All chunks of a stream, if the caller has them; otherwise they are read from the log.

        Raises:
            EventsEvictedError: It was a stream, and its beginning is no longer kept.
        """
        assert self.answer is not None
        if self.state != "succeeded" or self.form == "response":
            return self.answer.envelope
        if self.answer.value is not None:
            return with_result(self.answer.value, self.answer.envelope)
        if chunks is None:
            chunks = self.log.collected()
        if chunks is None:
            raise EventsEvictedError(
                "The stream was longer than its log, so it is not kept as one value; read its events from "
                f"{self.log.first_id} on.",
                first_event_id=self.log.first_id,
            )
        return with_result(as_one_value(chunks, only_text=self.log.only_text), self.answer.envelope)

    def fail(self, error: BaseException | None) -> None:
        """End it with an error; only the first end counts."""
        if self.ending is not None or error is None:
            return
        self.error = error
        if self.durable and isinstance(error, ClientGoneError):
            error = InvocationCancelledError("The invocation was cancelled: its caller stopped waiting.")
        answer = self._error_answer(error)
        is_cancelled = isinstance(error, InvocationCancelledError | ClientGoneError)
        if not (is_cancelled or isinstance(error, InvocationTimeoutError)):
            self.is_refused = self.started_at is None
        self._close("cancelled" if is_cancelled else "failed", answer)

    def _error_answer(self, error: BaseException) -> Answer:
        """Return the response to an error, and log it if it is a failure."""
        context = self.context
        problem = error_response(error, request_id=context.request_id, tells_errors=self._keeper.config.tells_errors)
        if is_failure(error, problem.status) and not isinstance(error, ClientGoneError):
            log_failure(error, context.request_id, context)
        body = problem.envelope(context.request_id, context.session_id, context.elapsed())
        return Answer(problem.status, body, headers=problem.headers)

    def succeed(
        self,
        value: bytes | None = None,
        *,
        status: int = 200,
        headers: Headers | None = None,
        body: bytes | None = None,
        interrupts: bytes | None = None,
    ) -> None:
        """End it with a value, the parts of a response object, or the end of a stream; only the first end counts.

        Args:
            value: The result as JSON; for a stream only if it isn't the joined chunks.
            status: Status of a response object.
            headers: Its headers.
            body: Its body.
            interrupts: The interrupts of the run as JSON, for the envelope's metadata.
        """
        context = self.context
        without = envelope(b"null", context.request_id, context.session_id, context.elapsed(), interrupts)
        self._close("succeeded", Answer(status, without, value, headers or [], body))

    def _close(self, state: State, answer: Answer) -> None:
        if self.ending is not None:
            return
        self.ending = Ending(state, answer, time.time())
        self._abandoned_at = None
        if self._log is not None:
            self._log.end()
        if self.durable:
            self._keeper.keep_finished(self)
        else:
            self.settle()

    def settle(self) -> None:
        """Make its end visible to subscribers."""
        assert self.ending is not None
        self.is_accepted = True
        self.state, self.answer, self.finished_at = self.ending
        if self._log is not None:
            self._log.close(*self.ending.event)
        self._wake_subscribers()

    def withhold(self) -> None:
        """End it with an error instead, because its response could not be stored, so a retry would not get it."""
        self.error = InvocationError(_WITHHELD, status_code=500)
        self.ending = Ending("failed", self._error_answer(self.error), time.time())

    def _wake_subscribers(self) -> None:
        for subscriber in self.subscribers:
            subscriber.wake()
        if self.publisher is not None:
            self.publisher.wake()

    def stored(self, *, with_events: bool = False) -> StoredInvocation:
        """Return the invocation as plain data.

        Args:
            with_events: Include events that follow from the value and the envelope.
        """
        ending = self.ending
        events = None
        if ending is not None and (with_events or self._log is not None):
            events = self.kept_log.held(None if self.is_over else ending.event)
        facts = {name: getattr(self, name) for name in KEPT}
        if ending is not None:
            facts |= ending._asdict()
        return StoredInvocation(
            id=self.id,
            request_id=self.context.request_id,
            session_id=self.context.session_id,
            events=events,
            **facts,
        )

    @classmethod
    def restored(cls, keeper: Keeper, context: RequestContext, stored: StoredInvocation) -> Transcript:
        """Return a finished invocation from the store.

        Args:
            context: A context with its IDs.
        """
        invocation = cls(keeper, context)
        invocation.durable, invocation.window_seconds, invocation.is_accepted = True, None, True
        invocation._adopt(stored)
        return invocation

    def _adopt(self, stored: StoredInvocation) -> None:
        """Take the state of a stored invocation that is over."""
        for name in KEPT:
            setattr(self, name, getattr(stored, name))
        self.ending = ending_of(stored)
        self._stored = stored

    def resume_interrupted(self, after: int) -> None:
        """Make the log of an interrupted invocation continue after event `after`, the last one that a caller has."""
        if after < self.last_event_id:
            return
        assert self.answer is not None
        self._log = log = KeptLog(self.subscribers, FixedShare(0))
        log.restore(closing_events(self.answer.envelope, after + 1))
