"""Writes what an invocation says, while it says it, where other processes read it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from ppio_agent_models import InvocationError

from .event_log import LogReader
from .shared_store import LOST, Said
from .store import StoreError

if TYPE_CHECKING:
    from .kept_log import Entry, KeptLog
    from .redis_store import RedisStore
    from .store import Ending, Form, State, StoredInvocation

_RETRY_SECONDS: Final = 0.2


class Published(Protocol):
    """What a publisher needs of its invocation."""

    state: State
    form: Form | None
    ending: Ending | None

    @property
    def begun_log(self) -> KeptLog | None:
        """Its events, if it has any yet."""

    def stored(self) -> StoredInvocation:
        """Return it as plain data."""

    def stop(self, reason: Exception) -> None:
        """End it early."""


class Publisher(LogReader):
    """The reader of a log that counts first: no event is forgotten that is not written yet.

    While the store cannot be used it tries again, and a log that is full makes the producer wait.

    Args:
        store: Where to.
        invocation: Whose state and events.
        told: The state that the store knows.
    """

    __slots__ = ("_invocation", "_store", "_task", "_told")

    sent: int

    def __init__(self, store: RedisStore, invocation: Published, told: State) -> None:
        super().__init__()
        self._store = store
        self._invocation = invocation
        self._told: tuple[State, Form | None] = told, None
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def end(self) -> None:
        """Return when nothing is being written any more, after the invocation has ended."""
        self.wake()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        invocation = self._invocation
        while invocation.ending is None:
            log, before, told = invocation.begun_log, self.position, (invocation.state, invocation.form)
            entries: list[Entry] = []
            if log is not None and (told == self._told or log.last_id > before):
                await log.take(self)
                entries = log.entries(before, self.position)
            elif told == self._told:
                await self.wait()
            if entries or told != self._told:
                await self._write(entries, before)

    async def _write(self, entries: list[Entry], before: int) -> None:
        invocation = self._invocation
        while invocation.ending is None:
            log, told = invocation.begun_log, (invocation.state, invocation.form)
            said = Said([], before, 1, only_text=True, typed=False)
            if log is not None:
                said = Said(entries, before, log.first_id, only_text=log.only_text, typed=log.typed)
            try:
                last = await self._store.append(invocation.stored(), said)
            except StoreError:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._told = told
            if last == LOST:
                return invocation.stop(InvocationError("Another process has found this invocation to be interrupted."))
            if last < before:
                self.position = self.sent = last  # once more from there
            return None
