"""How long a connection waits for its caller: for a head, for the rest of a body, for the next request.

One timer looks again when something could be due; uvicorn starts and cancels one for each request, which is 1.5 us.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ppio_agent_models import RequestReadTimeoutError

if TYPE_CHECKING:
    from .cycle import Cycle
    from .protocol import AgentHttpProtocol


class Patience:
    """The clock of one connection.

    Args:
        connection: What it looks after.
        limit_seconds: How long a head may take, and the rest of a body whose answer is out.
        keep_alive_seconds: How long the next request may take to begin.

    Attributes:
        waiting_since: When the connection began to wait for a head or its rest; 0.0 while it does not.
        idle_since: When its last answer was complete; 0.0 while it is in use.
    """

    __slots__ = (
        "_connection",
        "_keep_alive_seconds",
        "_limit_seconds",
        "_timer",
        "_unread",
        "_unread_since",
        "idle_since",
        "waiting_since",
    )

    def __init__(self, connection: AgentHttpProtocol, limit_seconds: float, keep_alive_seconds: float) -> None:
        self.waiting_since = 0.0
        self.idle_since = 0.0
        self._connection = connection
        self._limit_seconds = limit_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._unread: Cycle | None = None
        self._unread_since = 0.0

    def begin(self) -> None:
        """Start the clock: a head must arrive."""
        self.wait()
        first_look = min(self._limit_seconds, self._keep_alive_seconds)
        self._timer = self._connection.loop.call_later(first_look, self._look)

    def wait(self) -> None:
        """Note that it waits for a head, if it did not already."""
        self.waiting_since = self.waiting_since or self._connection.loop.time()

    def end(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Close the connection if it has kept us waiting for too long; look again later otherwise."""
        connection = self._connection
        if connection.transport.is_closing():
            return
        now = connection.loop.time()
        idle = now - self.idle_since if self.idle_since else 0.0
        if idle >= self._keep_alive_seconds:
            connection.transport.close()
            return
        waited = now - self.waiting_since if self.waiting_since else 0.0
        if waited >= self._limit_seconds:
            if connection.in_head:
                connection.refuse(self._head_is_late())
            connection.transport.close()
            return
        if self._trickles(now):
            connection.transport.close()
            return
        next_look = min(self._limit_seconds - waited, self._keep_alive_seconds - idle)
        self._timer = connection.loop.call_later(next_look, self._look)

    def _trickles(self, now: float) -> bool:
        """Say whether an answer went out before its body was complete, and the rest has been coming for too long."""
        connection = self._connection
        if not connection.in_message or connection.in_head or connection.is_answering():
            return False
        if self._unread is not connection.cycle:
            self._unread, self._unread_since = connection.cycle, now
        return now - self._unread_since >= self._limit_seconds

    def _head_is_late(self) -> RequestReadTimeoutError:
        return RequestReadTimeoutError(
            f"The head of the request did not arrive within {self._limit_seconds:g} s, the limit "
            "'request_read_timeout_seconds'."
        )
