"""Writes the events of a running invocation to a shared store, where other processes read them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from ppio_agent_models import InvocationError

from .event_log import LogReader
from .shared_store import LOST, NewEvents
from .store import StoreError

if TYPE_CHECKING:
    from .kept_log import Entry, KeptLog
    from .shared_store import SharedStore
    from .store import Ending, Form, State, StoredInvocation

_RETRY_SECONDS: Final = 0.2


class Published(Protocol):
    """The part of an invocation that a publisher uses."""

    state: State
    form: Form | None
    ending: Ending | None

    @property
    def begun_log(self) -> KeptLog | None:
        """Its events, if it has any yet."""

    def stored(self) -> StoredInvocation:
        """Return the invocation as plain data."""

    def stop(self, reason: Exception) -> None:
        """End it early."""


class Publisher(LogReader):
    """A reader that writes a log to the store. Events are not dropped before they are written.

    While the store cannot be used it retries, and a full log makes the producer wait.

    Args:
        store: The shared store.
        invocation: The invocation.
        written: The state that the store already has.
    """

    __slots__ = ("_invocation", "_store", "_task", "_written")

    sent: int

    def __init__(self, store: SharedStore, invocation: Published, written: State) -> None:
        super().__init__()
        self._store = store
        self._invocation = invocation
        self._written: tuple[State, Form | None] = written, None
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def end(self) -> None:
        """Wait until everything is written, after the invocation has ended."""
        self.wake()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        invocation = self._invocation
        while invocation.ending is None:
            log, before, state = invocation.begun_log, self.position, (invocation.state, invocation.form)
            entries: list[Entry] = []
            if log is not None and (state == self._written or log.last_id > before):
                await log.take(self)
                entries = log.entries(before, self.position)
            elif state == self._written:
                await self.wait()
            if entries or state != self._written:
                await self._write(entries, before)

    async def _write(self, entries: list[Entry], before: int) -> None:
        invocation = self._invocation
        while invocation.ending is None:
            log, state = invocation.begun_log, (invocation.state, invocation.form)
            new = NewEvents([], before, 1, only_text=True, typed=False)
            if log is not None:
                new = NewEvents(entries, before, log.first_id, only_text=log.only_text, typed=log.typed)
            try:
                last = await self._store.append(invocation.stored(), new)
            except StoreError:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._written = state
            if last == LOST:
                return invocation.stop(InvocationError("Another replica has marked this invocation as interrupted."))
            if last < before:
                self.position = self.sent = last  # write again from there
            return None
