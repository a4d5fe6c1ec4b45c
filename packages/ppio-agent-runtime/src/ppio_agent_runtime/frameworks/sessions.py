"""The state between runs of a conversation: in memory, bounded, one run of a session at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

MAX_SESSIONS: Final = 1000
"""How many sessions an agent remembers; beyond that, the least recently used one is dropped."""


class Session:
    """One conversation.

    Attributes:
        made: The agent, if each session has its own.
        memory: The framework's object that holds the conversation.
        pending: The interrupted run, in the framework's form.
    """

    __slots__ = ("_lock", "_users", "made", "memory", "pending")

    def __init__(self) -> None:
        self.made: Any = None
        self.memory: Any = None
        self.pending: Any = None
        self._lock: asyncio.Lock | None = None  # only while in use, as it belongs to an event loop
        self._users = 0

    @property
    def in_use(self) -> bool:
        """Whether a run uses it, or waits for it."""
        return self._users > 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until earlier runs are over."""
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
        limit: How many are kept; those in use are kept in any case.
    """

    def __init__(self, limit: int = MAX_SESSIONS) -> None:
        self._limit = limit
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    @asynccontextmanager
    async def turn(self, session_id: str | None) -> AsyncIterator[Session]:
        """Return the session for one run; without an ID, a new one for this run alone."""
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
