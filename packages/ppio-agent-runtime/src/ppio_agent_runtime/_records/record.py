"""One durable invocation: its state, what it said, who waits for it.

queued ──> running ──> succeeded
│          ├──────> failed
└──────────┴──────> cancelled

A queued one can fail too: its time was up, or the door refused it after its caller had been told 202.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from ppio_agent_models import EventsEvictedError, InvocationCancelledError

from .allowance import FixedAllowance
from .answer import Answer, ValueAnswer, with_result
from .event_blocks import as_one_value
from .event_log import EventLog
from .resource_json import iso_time, resource_json

if TYPE_CHECKING:
    from .._durable.presence import Presence
    from .._engine.run import Run
    from .allowance import Allowance

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "queued", "running", "succeeded", "failed", "cancelled"

Scope = tuple[str, str, str]
"""Whose idempotency key it is: caller, session, key."""
RecordForm = Literal["value", "stream", "response"]


class Record:
    """An invocation that outlives its request.

    It has a log of its events from the moment on when somebody reports progress, makes a stream or reads events. Most
    have none of that: their value is held alone, and who asks later for its events gets a log made of it.

    Args:
        invocation_id: Its id.
        allowance: Returns what the log may hold, once there is one.
        session_id: Its session, or None.
        request_id: Of the request that began it.
        window_seconds: How long it goes on when nobody waits for it; 0 to stop at once, None to go on to its end.
        scope: Whose idempotency key it was asked with, if one was given.
        fingerprint: Digest of the body, to tell another request under the same key.

    Attributes:
        state: See the module's docstring.
        run: The work, while it goes on.
        form: What the handler made, once that is known: a value, a stream, or a response of its own.
        is_accepted: It runs, waits in the queue or is over: it will not be refused any more.
        is_refused: The door refused it, or the service drained, before the handler began.
        was_interrupted: The process ended before it did; how many events there were is not known.
        answer: What it is answered with, from the end on.
        was_abandoned: There was a time in which nobody waited for it.
        held_since: When it was over, by the clock of the ledger.
        held_cost: How many bytes the ledger counts for it since then.
    """

    # Defaults of the class instead of slots that are filled for each record, as in `Run`.
    state = QUEUED
    run: Run | None = None
    form: RecordForm | None = None
    is_accepted = False
    is_refused = False
    was_interrupted = False
    started_at: float | None = None
    finished_at: float | None = None
    answer: Answer | ValueAnswer | None = None
    was_abandoned = False
    held_since = 0.0
    held_cost = 0
    _callers: dict[Presence, None] | None = None
    _log: EventLog | None = None
    _abandoned_at: float | None = None

    def __init__(
        self,
        invocation_id: str,
        allowance: Callable[[], Allowance],
        *,
        request_id: str,
        session_id: str | None,
        window_seconds: float | None,
        scope: Scope | None,
        fingerprint: bytes,
    ) -> None:
        self.invocation_id = invocation_id
        self.request_id = request_id
        self.session_id = session_id
        self.scope = scope
        self.fingerprint = fingerprint
        self.created_at = time.time()
        self._allowance = allowance
        self._window_seconds = window_seconds

    @property
    def log(self) -> EventLog:
        """Its events. What is made of a value for those who ask after the end is made anew each time, and not held."""
        if self._log is not None:
            return self._log
        if self.answer is None:
            self._log = EventLog(self._allowance(), keeps_unread=self._window_seconds is not None)
            return self._log
        log = EventLog(FixedAllowance(0))
        if isinstance(self.answer, ValueAnswer):
            log.put(self.answer.value)
        self._end(log, self.answer)
        return log

    @property
    def last_event_id(self) -> int:
        """Number of the newest event, 0 before the first."""
        if self._log is not None:
            return self._log.last_id
        return self.chunks + (self.answer is not None)

    @property
    def chunks(self) -> int:
        """How many chunks there were so far."""
        return (self.form == "value") if self._log is None else self._log.chunks

    @property
    def held_bytes(self) -> int:
        """Bytes held of what it said and is answered with."""
        answer, log = self.answer, self._log
        if isinstance(answer, ValueAnswer):
            return len(answer.whole)
        held = 0 if log is None else log.held_bytes
        if answer is not None:
            held += (len(answer.closing) if log is None else 0) + len(answer.body or b"")
        return held

    def said(self) -> tuple[int, int]:
        """Return how many chunks it said so far, and bytes, what was forgotten included."""
        if isinstance(self.answer, ValueAnswer):
            return 1, len(self.answer.whole)
        return self.chunks, self.held_bytes if self._log is None else self._log.made_bytes

    @property
    def is_over(self) -> bool:
        """Whether the state is final."""
        return self.answer is not None

    @property
    def has_form(self) -> bool:
        """Whether it is known what the handler made, or that nothing will come of it."""
        return self.form is not None or self.answer is not None

    def said_nothing(self, *, numbered: bool) -> bool:
        """Say whether it ended without an event that its callers are told of: in an error, or with its own response.

        Args:
            numbered: They speak protocol 1, and are told of progress too.
        """
        nothing = self.last_event_id == 1 if numbered else self.chunks == 0
        return self.answer is not None and nothing and (self.state != SUCCEEDED or self.form == "response")

    @property
    def callers(self) -> int:
        """How many callers wait for it, or look at it."""
        return len(self._callers or ())

    @property
    def is_abandoned(self) -> bool:
        """Whether it works on though nobody waits for it, and will be stopped when nobody comes back in time."""
        return self._abandoned_at is not None

    @property
    def taker(self) -> Presence | None:
        """Return the caller who has waited longest and can be sent a response of the agent's own."""
        return next((caller for caller in self._callers or () if caller.can_take_response), None)

    def accepted(self) -> None:
        """Note that it waits in the queue."""
        self.is_accepted = True
        self._tell()

    def began(self) -> None:
        """Note that the handler works now."""
        self.state = RUNNING
        self.started_at = time.time()
        self.is_accepted = True
        if self._callers:
            self._tell()

    def knows_form(self, form: RecordForm) -> None:
        """Note what the handler made."""
        self.form = form
        self._tell()

    def report(self, value: bytes) -> None:
        """Add a progress event, in any thread. Nothing is added after the end."""
        if self.run is None or self.run.task is None:
            return
        loop = self.run.task.get_loop()
        if asyncio._get_running_loop() is loop:
            self.log.progress(value)
        else:
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(self.report, value)

    def succeed(self, value: bytes, whole: bytes) -> None:
        """End the invocation with a value, as JSON; `whole` is the envelope around it."""
        self.form = "value"
        answer = ValueAnswer(whole, len(value))
        if self._log is None:
            return self.finish(SUCCEEDED, answer)
        self._log.put(value)
        self.finish(SUCCEEDED, Answer(200, answer.closing))

    def finish(self, state: str, answer: Answer | ValueAnswer) -> None:
        """End the invocation; it has not ended yet."""
        self.state = state
        self.finished_at = time.time()
        self.answer = answer
        self.is_accepted = True
        if self._log is not None:
            self._end(self._log, answer)
            self._log.allowance.release()
        self._abandoned_at = None
        self.run = None
        if self._callers:
            self._tell()

    def restore(
        self,
        state: str,
        form: RecordForm | None,
        answer: Answer,
        log: EventLog,
        *,
        created_at: float,
        started_at: float | None,
        finished_at: float | None,
    ) -> None:
        """Make this an invocation that was over before this process began."""
        self.state, self.form, self.answer, self.is_accepted = state, form, answer, True
        self._log = log
        self.created_at, self.started_at, self.finished_at = created_at, started_at, finished_at

    def cancel(self, sentence: str = "The invocation was cancelled.") -> None:
        """Ask the work to stop."""
        if self.run is not None:
            self.run.stop(InvocationCancelledError(sentence))

    def join(self, caller: Presence) -> None:
        """Note that one more caller waits for it."""
        if self._callers is None:
            self._callers = {}
        self._callers[caller] = None
        self._abandoned_at = None

    def leave(self, caller: Presence) -> None:
        """Note that a caller is gone; the last one starts the window."""
        assert self._callers is not None
        self._callers.pop(caller, None)
        self._begin_window()

    def watch(self, now: float) -> None:
        """Stop the work when its window is over and nobody came back.

        Args:
            now: The loop's time.
        """
        if self._abandoned_at is None or self._window_seconds is None:
            return
        if now - self._abandoned_at >= self._window_seconds:
            self._abandoned_at = None
            self.cancel("The invocation was cancelled: nobody waited for it any more.")

    def postpone(self, seconds: float, before: float) -> None:
        """See `_engine.invocations.Watched`."""
        if self._abandoned_at is not None and self._abandoned_at < before:
            self._abandoned_at += seconds

    def envelope(self, chunks: list[bytes] | None = None) -> bytes:
        """Return the whole answer as JSON, once the invocation is over.

        Args:
            chunks: Those of a stream, where somebody has them all; otherwise the log is asked.

        Raises:
            EventsEvictedError: It was a stream, and the beginning of it is not held any more.
        """
        assert self.answer is not None
        if isinstance(self.answer, ValueAnswer):
            return self.answer.whole
        if self.state != SUCCEEDED or self.form == "response":
            return self.answer.closing
        if self.form == "value":
            return with_result(self.log.value(), self.answer.closing)
        if chunks is None:
            chunks = self.log.collected()
        if chunks is None:
            raise EventsEvictedError(
                "The stream was longer than its log, so it is not held as one value; read its events from "
                f"{self.log.first_id} on.",
                first_event_id=self.log.first_id,
            )
        return with_result(as_one_value(chunks, only_text=self.log.only_text), self.answer.closing)

    def resource(self) -> bytes:
        """Return the invocation as JSON; where the result is not held as one value, `first_event_id` says so."""
        answer, first_event_id = b"null", None
        if self.answer is not None:
            try:
                answer = self.envelope()
            except EventsEvictedError as error:
                answer, first_event_id = self.answer.closing, error.first_event_id
        return resource_json(
            answer,
            invocation_id=self.invocation_id,
            state=self.state,
            created_at=iso_time(self.created_at),
            started_at=iso_time(self.started_at),
            finished_at=iso_time(self.finished_at),
            last_event_id=self.last_event_id,
            first_event_id=first_event_id,
        )

    def _begin_window(self) -> None:
        if not self.callers and self.answer is None and self._window_seconds is not None:
            self.was_abandoned = True
            self._abandoned_at = now = asyncio.get_running_loop().time()
            self.watch(now)

    def _end(self, log: EventLog, answer: Answer | ValueAnswer) -> None:
        log.close(b"done" if self.state == SUCCEEDED else b"error", answer.closing)

    def _tell(self) -> None:
        for caller in self._callers or ():
            caller.wake()
