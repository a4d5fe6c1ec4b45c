"""One durable invocation: its state, what it said, who waits for it.

queued ──> running ──> succeeded
│          ├──────> failed
└──────────┴──────> cancelled
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ppio_agent_models import EventsEvictedError, InvocationCancelledError, PPIOAgentRuntimeError

from ._event_log import EventLog

if TYPE_CHECKING:
    from ._context import Headers, RequestContext
    from ._run import Run

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "queued", "running", "succeeded", "failed", "cancelled"

Scope = tuple[str, str, str]
"""Whose idempotency key it is: caller, session, key."""


_NO_RESULT = b'{"result":null'


@dataclass(slots=True, frozen=True)
class Answer:
    """What the invocation is answered with, however often somebody asks.

    Attributes:
        status: HTTP status.
        closing: The envelope without result, which also closes the log.
        result: The result as JSON; None for an error, and for a stream, whose log has it.
        headers: Further response headers, such as `Retry-After`.
        response: The Starlette response that the handler returned instead of a value.
    """

    status: int
    closing: bytes
    result: bytes | None = None
    headers: Headers = field(default_factory=list)
    response: Any = None


class Record:
    """An invocation that outlives its request.

    Args:
        invocation_id: Its id.
        log: Where its events go.
        request_id: Of the request that began it.
        session_id: Its session, or None.
        window_seconds: How long it goes on when nobody waits for it; 0 to stop at once, None to go on to its end.
        scope: Whose idempotency key it was asked with, if one was given.
        fingerprint: Digest of the body, to tell another request under the same key.

    Attributes:
        state: See the module's docstring.
        run: The work, while it goes on.
        has_form: Done once it is known whether this is a value or a stream.
        is_stream: The handler made a generator.
        over: Done at the end.
        answer: What it is answered with, from the end on.
    """

    __slots__ = (
        "_abandoned_at",
        "_callers",
        "_window_seconds",
        "answer",
        "created_at",
        "fingerprint",
        "finished_at",
        "has_form",
        "invocation_id",
        "is_stream",
        "log",
        "over",
        "request_id",
        "run",
        "scope",
        "session_id",
        "started_at",
        "state",
    )

    def __init__(
        self,
        invocation_id: str,
        log: EventLog,
        *,
        request_id: str,
        session_id: str | None,
        window_seconds: float | None,
        scope: Scope | None,
        fingerprint: bytes,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.invocation_id = invocation_id
        self.log = log
        self.request_id = request_id
        self.session_id = session_id
        self.scope = scope
        self.fingerprint = fingerprint
        self.state = QUEUED
        self.run: Run | None = None
        self.created_at = time.time()
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self.has_form: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self.is_stream = False
        self.answer: Answer | None = None
        self._window_seconds = window_seconds
        self._callers = 0
        self._abandoned_at: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether the state is final."""
        return self.over.done()

    @property
    def failed_silently(self) -> bool:
        """Whether it ended without a single event, in an error or with a response of its own."""
        nothing_said = self.log.closed and self.log.last_id == 1
        return nothing_said and (self.state != SUCCEEDED or (self.answer is not None and bool(self.answer.response)))

    def began(self) -> None:
        """Note that the handler works now."""
        if self.state == QUEUED:
            self.state = RUNNING
            self.started_at = time.time()

    def knows_form(self, *, is_stream: bool) -> None:
        """Note what the handler made: a stream, or a value."""
        self.is_stream = is_stream
        if not self.has_form.done():
            self.has_form.set_result(None)

    def finish(self, state: str, answer: Answer) -> None:
        """End the invocation; only the first end counts."""
        if self.is_over:
            return
        self.state = state
        self.finished_at = time.time()
        self.answer = answer
        self.log.close("done" if state == SUCCEEDED else "error", answer.closing)
        self.knows_form(is_stream=self.is_stream)
        self.over.set_result(None)
        self.run = None

    def restore(
        self, state: str, answer: Answer, *, created_at: float, started_at: float | None, finished_at: float | None
    ) -> None:
        """Make this an invocation that was over before this process began."""
        self.state, self.answer = state, answer
        self.created_at, self.started_at, self.finished_at = created_at, started_at, finished_at
        self.knows_form(is_stream=answer.result is None)
        self.over.set_result(None)

    def cancel(self, reason: PPIOAgentRuntimeError | None = None) -> None:
        """Ask the work to stop."""
        if self.run is not None:
            self.run.stop(reason or InvocationCancelledError("The invocation was cancelled."))

    def joined(self) -> None:
        """Note that one more caller waits for it."""
        self._callers += 1
        self._abandoned_at = None
        self.log.keeps_unread = True

    def left(self, now: float) -> None:
        """Note that a caller is gone; the last one starts the window.

        Args:
            now: The loop's time.
        """
        self._callers -= 1
        if self._callers == 0 and not self.is_over:
            self._abandoned_at = now
            self.log.keeps_unread = self._window_seconds is not None
            self.log.look_again()
            self.watch(now)

    def watch(self, now: float) -> None:
        """Stop the work when its window is over and nobody came back.

        Args:
            now: The loop's time.
        """
        if self._abandoned_at is None or self._window_seconds is None:
            return
        if now - self._abandoned_at >= self._window_seconds:
            self._abandoned_at = None
            self.cancel(InvocationCancelledError("The invocation was cancelled: nobody waited for it any more."))

    def postpone(self, seconds: float) -> None:
        """Give back time in which the whole process did not run."""
        if self._abandoned_at is not None:
            self._abandoned_at += seconds

    def envelope(self) -> bytes:
        """Return the whole answer as JSON, once the invocation is over.

        Raises:
            EventsEvictedError: It was a stream, and the beginning of it is not held any more.
        """
        assert self.answer is not None
        if self.state != SUCCEEDED:
            return self.answer.closing
        result = self.answer.result if self.answer.result is not None else self.log.collected()
        if result is None:
            raise EventsEvictedError(
                "The stream was longer than its log, so it is not held as one value; read its events from "
                f"{self.log.first_id} on.",
                first_event_id=self.log.first_id,
            )
        return b'{"result":%b%b' % (result, self.answer.closing[len(_NO_RESULT) :])

    def resource(self) -> bytes:
        """Return the invocation as JSON; a result that is not held as one value is null in it."""
        answer = b"null"
        if self.answer is not None:
            try:
                answer = self.envelope()
            except EventsEvictedError:
                answer = self.answer.closing
        facts = {
            "invocation_id": self.invocation_id,
            "state": self.state,
            "created_at": _iso(self.created_at),
            "started_at": _iso(self.started_at),
            "finished_at": _iso(self.finished_at),
            "last_event_id": self.log.last_id,
        }
        return b'%b,"response":%b}' % (to_json(facts)[:-1], answer)


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()


def running_resource(context: RequestContext) -> bytes:
    """Return an invocation that was not asked for durably, and so can only be seen while it runs."""
    began = time.time() - context.elapsed()
    facts = {
        "invocation_id": context.invocation_id,
        "state": RUNNING,
        "created_at": _iso(began),
        "started_at": _iso(began),
        "finished_at": None,
        "last_event_id": 0,
        "response": None,
    }
    return to_json(facts)
