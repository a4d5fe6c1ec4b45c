"""What is known of an invocation: its state, what it said, what it is answered with, who subscribes to it.

queued ──> running ──> succeeded
│          ├──────> failed
└──────────┴──────> cancelled

A queued one can fail too: its time was up, or it was refused after its caller had been told 202.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from ppio_agent_models import EventsEvictedError, InvocationCancelledError, InvocationTimeoutError

from ..errors import ClientGoneError, error_response
from ..http.responses import envelope, is_failure, log_failure, with_result
from ..http.sse import as_one_value, one_line
from .event_log import NOT_READING, EventLog
from .store import Answer, FixedShare, KeyScope, StoredInvocation, closing_events
from .subscriber import Subscriber

if TYPE_CHECKING:
    from ..asgi import Headers, Receive
    from ..config import AgentConfig
    from ..context import RequestContext
    from .event_log import Share
    from .store import Form, State
    from .subscriber import Channel
    from .ticker import Ticker


_KEPT: Final = (
    "scope", "fingerprint", "state", "form", "created_at", "started_at", "finished_at", "interrupted", "answer",
)  # fmt: skip
"""Fields that a stored invocation has under the same name."""


class Keeper(Protocol):
    """What a transcript needs of the manager; see `manager.InvocationManager`."""

    config: AgentConfig
    ticker: Ticker

    def share(self) -> Share:
        """Return the share of the memory for events that a log has which begins."""

    def keep_finished(self, invocation: Transcript, *, was_accepted: bool) -> None:
        """Hold a durable invocation that is over."""


class Transcript:
    """All of an invocation that outlives its work; what a store kept of an earlier one is this and nothing else.

    Args:
        manager: Whose it is.
        context: Who asks, under which ids and limits.

    Attributes:
        state: See the module's docstring.
        durable: Somebody may come back to it: its events are numbered and kept, and it is found after its end.
        window_seconds: How long it goes on when nobody subscribes; 0 to stop at once, None to go on to its end.
        scope: Of its idempotency key, if it was asked with one.
        fingerprint: Digest of its body, to tell another request under the same key.
        subscribers: Who waits for it or reads it.
        is_accepted: It runs, waits in the queue or is over: it will not be refused any more.
        is_refused: It was refused, or the service drained, before the handler began.
        interrupted: Its process ended before it did; how many events there were is not known.
        created_at: In unix seconds, as the next two; 0 where nobody can come back.
        form: What the handler made, once that is known.
        answer: What it is answered with, once it is over.
        error: Why it did not succeed.
        head_sent: A response object of the handler has begun to send itself: no other answer can follow.
        sent_bytes: Size of the answer's body so far.
    """

    # Defaults of the class instead of slots that are filled for each of them, here and below: 25 stores less, 0.5 us.
    state: State = "queued"
    durable = False
    window_seconds: float | None = 0.0
    scope: KeyScope | None = None
    fingerprint = b""
    is_accepted = False
    is_refused = False
    interrupted = False
    created_at = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    form: Form | None = None
    answer: Answer | None = None
    error: BaseException | None = None
    head_sent = False
    sent_bytes = 0
    _log: EventLog | None = None
    _stored: StoredInvocation | None = None
    _abandoned_at: float | None = None

    def __init__(self, manager: Keeper, context: RequestContext) -> None:
        self.context = context
        self.subscribers: dict[Subscriber, None] = {}
        self._manager = manager

    @property
    def id(self) -> str:
        """Its id."""
        return self.context.invocation_id

    @property
    def is_over(self) -> bool:
        """Whether the state is final. Where its request answers, nobody asks."""
        return self.answer is not None

    @property
    def has_form(self) -> bool:
        """Whether it is known what the handler made, or that nothing will come of it."""
        return self.form is not None or self.answer is not None

    @property
    def first_chunk(self) -> float | None:
        """When the first chunk of the stream was there, in seconds from the beginning."""
        at = None if self._log is None else self._log.first_chunk_at
        return None if at is None else max(0.0, at - self.context.started)

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
        if not self.is_over:
            self.on_left(subscriber)

    def cancel(self) -> None:
        """Stop the work because somebody asked for that. Here there is none."""

    def on_left(self, subscriber: Subscriber) -> None:
        """Decide what becomes of the work when a subscriber has left before its end. Here there is none."""

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
            elif self.answer is not None:
                if self.answer.value is not None:
                    log.put(one_line(self.answer.value))
                log.close(b"done" if self.state == "succeeded" else b"error", self.answer.envelope)
        return self._log

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
        """Bytes held of what it said and is answered with, about."""
        held = 0 if self._log is None else self._log.held_bytes
        return held if self.answer is None else held + self.answer.size

    def said_nothing(self, *, numbered: bool) -> bool:
        """Say whether it ended without an event that its callers are told of: in an error, or with its own response.

        Args:
            numbered: They speak protocol 1, and are told of progress too.
        """
        if not self.is_over or (self.state == "succeeded" and self.form != "response"):
            return False
        return self.last_event_id <= 1 if numbered else not self.log.has_chunks

    def whole_answer(self, chunks: list[bytes] | None = None) -> bytes:
        """Return the answer as JSON with its result, once it is over.

        Args:
            chunks: Those of a stream, where somebody has them all; otherwise the log is asked.

        Raises:
            EventsEvictedError: It was a stream, and the beginning of it is not held any more.
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
                "The stream was longer than its log, so it is not held as one value; read its events from "
                f"{self.log.first_id} on.",
                first_event_id=self.log.first_id,
            )
        return with_result(as_one_value(chunks, only_text=self.log.only_text), self.answer.envelope)

    def fail(self, error: BaseException | None) -> None:
        """End it with an error; only the first end counts."""
        if self.is_over or error is None:
            return
        context = self.context
        self.error = error
        if self.durable and isinstance(error, ClientGoneError):
            error = InvocationCancelledError("The invocation was cancelled: nobody waited for it any more.")
        problem = error_response(error, request_id=context.request_id, tells_errors=self._manager.config.tells_errors)
        if is_failure(error, problem.status) and not isinstance(error, ClientGoneError):
            log_failure(error, context.request_id, context)
        told = problem.envelope(context.request_id, context.session_id, context.elapsed())
        is_cancelled = isinstance(error, InvocationCancelledError | ClientGoneError)
        if not (is_cancelled or isinstance(error, InvocationTimeoutError)):
            self.is_refused = self.started_at is None
        answer = Answer(problem.status, told, headers=problem.headers)
        self._close("cancelled" if is_cancelled else "failed", answer)

    def succeed(
        self,
        value: bytes | None = None,
        *,
        status: int = 200,
        headers: Headers | None = None,
        body: bytes | None = None,
    ) -> None:
        """End it with a value, a response object's parts, or a stream's end; only the first end counts."""
        context = self.context
        told = envelope(b"null", context.request_id, context.session_id, context.elapsed())
        self._close("succeeded", Answer(status, told, value, headers or [], body))

    def _close(self, state: State, answer: Answer) -> None:
        if self.is_over:
            return
        was_accepted, self.is_accepted = self.is_accepted, True
        self.state, self.answer, self.finished_at = state, answer, time.time()
        self._abandoned_at = None
        if self._log is not None:
            self._log.close(b"done" if state == "succeeded" else b"error", answer.envelope)
        if self.durable:
            self._manager.keep_finished(self, was_accepted=was_accepted)
        self._wake_subscribers()

    def _wake_subscribers(self) -> None:
        for subscriber in self.subscribers:
            subscriber.wake()

    def stored(self, *, with_events: bool = False) -> StoredInvocation:
        """Return it as plain data.

        Args:
            with_events: Also those that follow from the value and the envelope.
        """
        has_events = self.is_over and (with_events or self._log is not None)
        return StoredInvocation(
            id=self.id,
            request_id=self.context.request_id,
            session_id=self.context.session_id,
            events=self.log.held() if has_events else None,
            **{name: getattr(self, name) for name in _KEPT},
        )

    @classmethod
    def restored(cls, manager: Keeper, context: RequestContext, stored: StoredInvocation) -> Transcript:
        """Return an invocation that is over from what was kept of it.

        Args:
            context: With its ids.
        """
        invocation = cls(manager, context)
        invocation.durable, invocation.window_seconds, invocation.is_accepted = True, None, True
        for name in _KEPT:
            setattr(invocation, name, getattr(stored, name))
        invocation._stored = stored
        return invocation

    def resume_interrupted(self, after: int) -> None:
        """Let the log of an interrupted invocation go on behind event `after`, the last one that somebody has."""
        assert self.answer is not None
        self._log = EventLog(self.subscribers, FixedShare(0))
        self._log.restore(closing_events(self.answer.envelope, after + 1))
