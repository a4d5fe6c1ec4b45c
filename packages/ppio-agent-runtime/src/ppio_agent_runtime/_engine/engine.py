"""What every protocol shares: one invocation from its start to its end, without a word of HTTP.

`POST /invocations` comes through `_corridor.pipeline`, other protocols through `app.invoke`, WebSockets through
their own room. Each of them starts a run, lets it work, delivers what came out, and finishes it.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from ppio_agent_models import ConfigurationError

if TYPE_CHECKING:
    from ..observability.recorder import InvocationRecorder
    from .handler import Callee, Handler
    from .invocations import Invocations
    from .run import Run
    from .workers import WorkerThreads


class Admission(Protocol):
    """What stands between a parsed request and the agent: rate limits, concurrency, queues."""

    def try_acquire(self, run: Run) -> bool:
        """Let the run in if that can be said at once; False when `acquire` is to be waited for.

        Raises:
            InvocationError: It is refused; the caller is told this.
        """

    async def acquire(self, run: Run) -> None:
        """Let the run in, at once or later, where `try_acquire` did not.

        While it waits, its deadline, a disconnect and a drain end the wait.

        Raises:
            InvocationError: It is refused; the caller is told this.
        """

    def release(self, run: Run) -> None:
        """Note that a run which came in is over, its code included. Called once for each."""

    def drain(self) -> None:
        """Refuse those who wait: the service shuts down."""


class Engine:
    """Runs the handler under all limits.

    Attributes:
        handler: The agent's function, once it is registered.
        admission: The limits; None when nothing is configured.
        recorder: Who counts; None when nobody does.
        workers: Threads for plain functions.
        invocations: What is running.
    """

    def __init__(self, invocations: Invocations, workers: WorkerThreads) -> None:
        self.handler: Handler | None = None
        self.admission: Admission | None = None
        self.recorder: InvocationRecorder | None = None
        self.workers = workers
        self.invocations = invocations
        invocations.on_end = self._left
        invocations.on_drain = self._drained

    def registered(self) -> Handler:
        """Return the handler.

        Raises:
            ConfigurationError: There is none yet.
        """
        if self.handler is None:
            raise ConfigurationError("This service has no entrypoint; put @app.entrypoint above the agent's function.")
        return self.handler

    def start(self, run: Run) -> Run:
        """Return the run, which is in flight from here on: watched, and stopped when its time or the service ends.

        Raises:
            DrainingError: The service is shutting down.
        """
        self.invocations.add(run)
        return run

    def work(self, run: Run, handler: Callee, payload: Any) -> Coroutine[Any, Any, Any]:
        """Ask for admission and return the coroutine that calls the handler; a generator comes back as such.

        Where admission has to be waited for, the coroutine does.

        Raises:
            InvocationError: It was refused, failed, ran out of time, or was stopped.
            ClientGoneError: The caller hung up.
        """
        if self.recorder is not None:
            self.recorder.started(run.context)
        if self.admission is None:
            return run.result(handler, payload, self.workers)
        if self.admission.try_acquire(run):
            run.admitted = True
            return run.result(handler, payload, self.workers)
        return self._admitted(self.admission, run, handler, payload)

    def finish(self, run: Run, failure: BaseException | None) -> None:
        """Note that the answer is complete. Code that was cancelled and does not end keeps the run in flight."""
        self.invocations.finish(run)
        if failure is None and run.chunks is not None:
            failure = run.chunks.error
        if self.recorder is not None:
            self.recorder.finished(run, failure, was_refused=self.admission is not None and not run.admitted)

    def refused(self, failure: Exception) -> None:
        """Note a request that was refused before a run began."""
        if self.recorder is not None:
            self.recorder.refused(failure)

    async def _admitted(self, admission: Admission, run: Run, handler: Callee, payload: Any) -> Any:
        await run.enter(admission)
        return await run.result(handler, payload, self.workers)

    def _left(self, run: Run) -> None:
        if self.admission is not None:
            self.admission.release(run)

    def _drained(self) -> None:
        if self.admission is not None:
            self.admission.drain()
