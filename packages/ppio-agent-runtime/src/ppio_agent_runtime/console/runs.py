"""The runs of an agent, in flight and for a while after they ended: state, outcome, spans."""

from __future__ import annotations

import time
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ..observability.logging import type_name
from .frames import frames_of
from .spans import EventSpans, Span

if TYPE_CHECKING:
    from ..context import RequestContext
    from ..invocations.invocation import Invocation
    from ..invocations.manager import InvocationManager
    from ..observability.metrics import Mode, Outcome

KEPT: Final = 200
"""How many ended runs are kept with their spans."""
LISTED: Final = 50
"""How many of these are listed."""
_STATES: Final = {"success": "succeeded", "cancelled": "cancelled", "disconnected": "cancelled"}
"""Outcome to state; any other outcome is `failed`."""


class Run:
    """One run. It holds IDs, numbers and the stack frames of a failure, but no content of the conversation.

    Args:
        context: The context of its invocation.
        durable: Whether callers can read it after its end.
    """

    def __init__(self, context: RequestContext, *, durable: bool = False) -> None:
        self.id: str = context.invocation_id
        self.created_at: float = time.time() - context.elapsed()
        self.admitted_at: float | None = None
        self.facts: dict[str, Any] = {
            "id": self.id,
            "request_id": context.request_id,
            "session_id": context.session_id,
            "user_id": context.user_id,
            "protocol": context.protocol,
            "durable": durable,
        }
        self.ended: dict[str, Any] | None = None
        self.reported: EventSpans = EventSpans(self.id[:16])
        self.collected: list[Span] = []
        self.frames: list[dict[str, Any]] = []

    def as_json(self, so_far: dict[str, Any]) -> dict[str, Any]:
        """Return the run as plain data.

        Args:
            so_far: Its current state, while it is in flight.
        """
        began = self.created_at if self.admitted_at is None else self.admitted_at
        times = {"created_at": self.created_at, "started_at": began}
        return self.facts | times | (self.ended or so_far) | {"spans": len(self.spans())}

    def spans(self) -> list[Span]:
        """Return its spans in the order of their starts: those of OpenTelemetry if there are any."""
        if self.collected:
            return sorted(self.collected, key=lambda span: (span.parent_id is not None, span.started_at))
        root = Span(self.id[:16], None, "invocation", "invocation", self.created_at)
        if (ended := self.ended) is not None:
            root.duration_seconds = ended["duration_seconds"]
            root.status = "ok" if ended["state"] == "succeeded" else "error"
            root.error = ended["error_type"]
            shown = {"ppio.outcome": ended["outcome"], "ppio.mode": ended["mode"], "ppio.chunks": ended["chunks"]}
            root.attributes = shown | {"ppio.first_chunk_seconds": ended["first_chunk_seconds"]}
        waited = []
        if self.admitted_at is not None:
            seconds = self.admitted_at - self.created_at
            waited = [Span(f"{root.id[:8]}-0", root.id, "queue", "queue", self.created_at, seconds)]
        return [root, *waited, *self.reported.spans]

    @property
    def source(self) -> str:
        """Where the spans come from."""
        return "opentelemetry" if self.collected else "runtime"


class RunHistory:
    """Records the invocations of one app; see `RunObserver`.

    Args:
        manager: Has the invocations in flight.
        keeps_frames: Keep the stack frames of failures.
    """

    def __init__(self, manager: InvocationManager, *, keeps_frames: bool = False) -> None:
        self._manager = manager
        self._keeps_frames = keeps_frames
        self._open: dict[str, Run] = {}
        self._ended: OrderedDict[str, Run] = OrderedDict()

    def listed(self) -> list[dict[str, Any]]:
        """Return the runs in flight, then the last ones that ended, both newest first."""
        in_flight = [each for run_id, each in self._manager.in_flight.items() if run_id not in self._ended]
        running = [(self._open.get(each.id) or Run(each.context)).as_json(_so_far(each)) for each in in_flight]
        ended = [run.as_json({}) for run in islice(reversed(self._ended.values()), LISTED)]
        return running[::-1] + ended

    def find(self, run_id: str) -> Run | None:
        """Return a run that is in flight or kept."""
        return self._open.get(run_id) or self._ended.get(run_id)

    def spans_of(self, run_id: str) -> list[Span] | None:
        """Return the list to add OpenTelemetry spans to, or None if the run is not kept."""
        run = self.find(run_id)
        return None if run is None else run.collected

    def started(self, context: RequestContext) -> None:
        """Record the start of a run."""
        invocation = self._manager.in_flight.get(context.invocation_id)
        self._open[context.invocation_id] = Run(context, durable=invocation is not None and invocation.durable)

    def admitted(self, context: RequestContext) -> None:
        """Record that a run left the queue."""
        if (run := self._open.get(context.invocation_id)) is not None:
            run.admitted_at = time.time()

    def events(self, context: RequestContext, events: list[dict[str, Any]]) -> None:
        """Record the typed events of a run."""
        if (run := self._open.get(context.invocation_id)) is not None:
            for event in events:
                run.reported.add(event)

    def finished(
        self,
        context: RequestContext,
        outcome: Outcome | str,
        failure: BaseException | None,
        mode: Mode,
        *,
        sent_bytes: int,
        chunks: int,
        first_chunk: float | None,
    ) -> None:
        """Record the outcome of a run."""
        run = self._open.pop(context.invocation_id, None) or Run(context)
        run.ended = {
            "mode": mode,
            "state": _STATES.get(outcome, "failed"),
            "finished_at": time.time(),
            "deadline_at": None,
            "duration_seconds": context.elapsed(),
            "first_chunk_seconds": first_chunk,
            "chunks": chunks,
            "sent_bytes": sent_bytes,
            "outcome": outcome,
            "error_type": None if failure is None else type_name(failure.__cause__ or failure),
        }
        if failure is not None and self._keeps_frames:
            run.frames = frames_of(failure)
        run.reported.finish()
        self._ended[run.id] = run
        if len(self._ended) > KEPT:
            self._ended.popitem(last=False)


def _so_far(invocation: Invocation) -> dict[str, Any]:
    """Return the current state of an invocation in flight."""
    invocation.count_sent()
    known = {
        "mode": "stream" if invocation.streams else invocation.wants,
        "state": invocation.state,
        "finished_at": None,
        "deadline_at": invocation.context.deadline,
        "duration_seconds": invocation.context.elapsed(),
        "first_chunk_seconds": invocation.first_chunk,
        "chunks": invocation.sent_chunks,
        "sent_bytes": invocation.sent_bytes,
        "outcome": None,
        "error_type": None,
    }
    return known | ({"started_at": None} if invocation.state == "queued" else {})
