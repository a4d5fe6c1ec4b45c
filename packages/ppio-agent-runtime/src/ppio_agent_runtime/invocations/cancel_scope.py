"""Runs the code of an invocation so that it can be cancelled; the first reason wins."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from ..errors import ClientGoneError, handler_failure
from .executor import abandon

if TYPE_CHECKING:
    from ..context import RequestContext

CANCEL_GRACE_SECONDS: Final = 1.0
"""How long a response waits for the `finally` blocks of cancelled code before it is sent anyway."""


class CancelScope:
    """Runs the code of one invocation, and cancels it.

    Args:
        context: Its `cancelled` is set, for code in threads.

    Attributes:
        task: The task that runs the invocation, or None before it runs.
        reason: Why it was stopped, or None.
    """

    task: asyncio.Task[Any] | None = None
    reason: Exception | None = None
    _is_open = False
    _cancelled_at = 0.0

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    async def run(self, working: Coroutine[Any, Any, Any], *, is_agents: bool = True) -> Any:
        """Run a coroutine that `cancel` can cancel, and return its result.

        Args:
            working: The coroutine.
            is_agents: It is the agent's code, so its exceptions are reported as the agent's.

        Raises:
            Exception: The reason of the cancel, or the coroutine's exception.
        """
        result = failure = None
        self.task, self._is_open = asyncio.current_task(), True
        try:
            result = await working
        except GeneratorExit:  # the loop is closed, and this coroutine is being destroyed
            raise
        except BaseException as error:  # noqa: BLE001  # sys.exit() ends an invocation, not the service
            failure = None if self.reason is not None else self._failure_of(error, is_agents=is_agents)
        finally:
            self._is_open = False
        if self.reason is not None and self._cancelled_at:
            abandon(result)
            if self.task is not None and self.task.cancelling():
                self.task.uncancel()  # so that it can continue and respond
            raise self.reason
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame
        return result

    def cancel(self, reason: Exception) -> None:
        """Cancel the running code. Threads see `context.cancelled`; code that starts later must check `reason`."""
        self.reason = reason
        self._context.cancel()
        if self._is_open and self.task is not None:
            self._cancelled_at = asyncio.get_running_loop().time()
            self.task.cancel()

    def close(self) -> None:
        """Make `cancel` leave the running code alone, because the response is complete."""
        self._is_open = False

    def is_ignored(self, now: float) -> bool:
        """Return whether cancelled code still runs after `CANCEL_GRACE_SECONDS`.

        Args:
            now: The loop's time.
        """
        return self._is_open and 0 < self._cancelled_at < now - CANCEL_GRACE_SECONDS

    def _failure_of(self, error: BaseException, *, is_agents: bool) -> BaseException:
        """Return the error to report for an exception; a cancel from outside stays as it is."""
        if isinstance(error, ClientGoneError):
            return error
        if isinstance(error, asyncio.CancelledError) and self.task is not None and self.task.cancelling():
            self._context.cancel()
            return error
        return handler_failure(error) if is_agents else error
