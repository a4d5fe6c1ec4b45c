"""What is kept between the runs of one conversation: in memory, bounded, one run at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

MAX_SESSIONS: Final = 1000
"""How many sessions an agent remembers; of more the least recently used one goes."""


class Session:
    """One conversation.

    Attributes:
        made: The agent, where each session has one of its own.
        memory: What the framework keeps the conversation in.
        pending: The run that waits for answers, as the framework has it.
    """

    __slots__ = ("_lock", "_users", "made", "memory", "pending")

    def __init__(self) -> None:
        self.made: Any = None
        self.memory: Any = None
        self.pending: Any = None
        self._lock: asyncio.Lock | None = None  # of the event loop of those who use it
        self._users = 0

    @property
    def in_use(self) -> bool:
        """Whether a run is at work in it, or waits to be."""
        return self._users > 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the runs that came before are over."""
        self._users += 1
        try:
            self._lock = self._lock or asyncio.Lock()
            async with self._lock:
                yield
        finally:
            self._users -= 1
            if not self._users:
                self._lock = None


class SessionStore:
    """The sessions of one agent.

    Args:
        limit: How many are kept; those in use are kept besides.
    """

    def __init__(self, limit: int = MAX_SESSIONS) -> None:
        self._limit = limit
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    @asynccontextmanager
    async def turn(self, session_id: str | None) -> AsyncIterator[Session]:
        """Return the session for one run; without an id a new one, which nobody finds again."""
        session = Session() if session_id is None else self._sessions.setdefault(session_id, Session())
        if session_id is not None:
            self._sessions.move_to_end(session_id)
        try:
            async with session.turn():
                yield session
        finally:
            self._trim()

    def __len__(self) -> int:
        return len(self._sessions)

    def _trim(self) -> None:
        excess = len(self._sessions) - self._limit
        if excess > 0:
            idle = [session_id for session_id, session in self._sessions.items() if not session.in_use]
            for session_id in idle[:excess]:
                del self._sessions[session_id]
