"""Where the code of an invocation runs, so that it can be stopped: the first reason counts, and the code is told."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from ..errors import ClientGoneError, handler_failure
from .executor import abandon

if TYPE_CHECKING:
    from ..context import RequestContext

CANCEL_GRACE_SECONDS: Final = 1.0
"""How long an answer waits for cancelled code to finish its `finally` blocks before it goes out without it."""


class CancelScope:
    """The code of one invocation, as far as it can be cancelled.

    Args:
        context: Is told, for code in threads.

    Attributes:
        task: Which one works for the invocation, once that is known.
        reason: Why it was stopped, or None.
    """

    task: asyncio.Task[Any] | None = None
    reason: Exception | None = None
    _is_open = False
    _cancelled_at = 0.0

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    async def run(self, working: Coroutine[Any, Any, Any], *, is_agents: bool = True) -> Any:
        """Return what comes of something that `cancel` cancels.

        Args:
            working: What runs.
            is_agents: It is code of the agent, and what it raises is told as such.

        Raises:
            Exception: Why it was cancelled, or what it raised.
        """
        result = failure = None
        self.task, self._is_open = asyncio.current_task(), True
        try:
            result = await working
        except GeneratorExit:  # the loop is gone, and this coroutine is thrown away with it
            raise
        except BaseException as error:  # noqa: BLE001  # sys.exit() ends an invocation, not the service
            failure = None if self.reason is not None else self._failure_of(error, is_agents=is_agents)
        finally:
            self._is_open = False
        if self.reason is not None and self._cancelled_at:
            abandon(result)
            if self.task is not None and self.task.cancelling():
                self.task.uncancel()  # so that it can go on and answer
            raise self.reason
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame
        return result

    def cancel(self, reason: Exception) -> None:
        """Cancel what runs. Code in a thread sees `context.cancelled`; what begins later has to look for `reason`."""
        self.reason = reason
        self._context.cancel()
        if self._is_open and self.task is not None:
            self._cancelled_at = asyncio.get_running_loop().time()
            self.task.cancel()

    def close(self) -> None:
        """Cancel what runs no more: it has done what matters."""
        self._is_open = False

    def is_ignored(self, now: float) -> bool:
        """Say whether what was cancelled still runs, longer than a `finally` block may take.

        Args:
            now: The loop's time.
        """
        return self._is_open and 0 < self._cancelled_at < now - CANCEL_GRACE_SECONDS

    def _failure_of(self, error: BaseException, *, is_agents: bool) -> BaseException:
        """Return what came out of code as callers are told of it; a cancel from outside as it is."""
        if isinstance(error, ClientGoneError):
            return error
        if isinstance(error, asyncio.CancelledError) and self.task is not None and self.task.cancelling():
            self._context.cancel()
            return error
        return handler_failure(error) if is_agents else error
