"""What became of an invocation, told to those who want to know: the numbers, the access log, the trace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ppio_agent_models import DrainingError, InvocationCancelledError, InvocationTimeoutError

from .._problems import ClientGoneError
from .access_log import log_access

if TYPE_CHECKING:
    from ..invocations.invocation import Invocation
    from ..invocations.manager import InvocationManager
    from .metrics import MetricsCollector, Mode, Outcome
    from .telemetry import Telemetry

_OUTCOMES: Final[tuple[tuple[type[BaseException], Outcome], ...]] = (
    (ClientGoneError, "disconnected"),
    (InvocationTimeoutError, "timeout"),
    (InvocationCancelledError, "cancelled"),
    (asyncio.CancelledError, "cancelled"),
    (DrainingError, "draining"),
)


def outcome_of(failure: BaseException | None) -> Outcome:
    """Return how an invocation ended."""
    if failure is None:
        return "success"
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(failure, kind)), "error")


class InvocationRecorder:
    """Hears from the engine how invocations begin and end.

    Args:
        manager: Whose invocations they are.
        metrics: Gets the numbers; None when nobody wants them.
        access_log: Write one INFO line for each invocation that succeeded; failures are logged in any case.

    Attributes:
        telemetry: Gets the spans; None while nobody collects any.
    """

    def __init__(self, manager: InvocationManager, metrics: MetricsCollector | None, *, access_log: bool) -> None:
        self._manager = manager
        self._metrics = metrics
        self._access_log = access_log
        self.telemetry: Telemetry | None = None

    def started(self, run: Invocation) -> None:
        """Note that a run is in flight. Called in the task that works for it."""
        if self.telemetry is not None:
            self.telemetry.begin(run)

    def finished(self, run: Invocation, failure: BaseException | None) -> None:
        """Note that a run's answer is complete. Called in the task of `started`.

        Args:
            failure: What ended it instead of a result, if anything did.
        """
        outcome: Outcome = "success" if failure is None else outcome_of(failure)
        mode: Mode = "stream" if run.streams else "json"
        if failure is not None and self._waits_at_the_door(run):
            self.refused(failure)
        elif self._metrics is not None:
            self._metrics.record_request(
                run.context.elapsed(), outcome, mode, run.sent_bytes, run.sent_chunks, run.first_chunk
            )
        if self._access_log and failure is None:
            log_access(run, mode)
        if self.telemetry is not None:
            self.telemetry.end(run, outcome, failure)

    def refused(self, failure: BaseException) -> None:
        """Note a request that was refused before any of the agent's code ran."""
        if self._metrics is not None:
            self._metrics.record_rejection(failure)

    def _waits_at_the_door(self, run: Invocation) -> bool:
        return self._manager.admission is not None and not run.admitted
