"""Invocations that run in another process with the same store, and are read in this one."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import EventsEvictedError

from ..http.sse import event_block
from .event_log import NOT_READING
from .kept_log import Entry, HeldEvents
from .shared_store import RefusedError
from .store import StoreError, interrupted
from .subscriber import Subscriber
from .transcript import KEPT, Keeper, Transcript

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..context import RequestContext
    from .kept_log import KeptLog
    from .shared_store import Reading, SharedStore, Watch
    from .store import StoredInvocation

_BLOCKS: Final = 16
"""How many blocks are read at once."""
_LOOK_SECONDS: Final = 1.0
"""How long to wait for a message before reading the store without one."""
_BEHIND_SECONDS: Final = 0.05
"""The same while a reader of this process has not been sent everything, so the other process may wait for it."""
REACH_SECONDS: Final = 10.0
"""How long to wait for an event that the caller already has, or for an invocation that the store has lost."""


class RemoteInvocation(Transcript):
    """An invocation that runs in another process; its state and events are read from the store.

    While it has subscribers, the other process knows of them.

    Args:
        keeper: This process's durable invocations.
        context: A context with its IDs.
        store: The shared store.
        reading: Its current state.
    """

    durable: bool = True
    window_seconds: float | None = None
    is_accepted: bool = True
    cancelling: asyncio.Task[None] | None

    def __init__(self, keeper: Keeper, context: RequestContext, store: SharedStore, reading: Reading) -> None:
        super().__init__(keeper, context)
        self._store = store
        self._following: asyncio.Task[None] | None = None
        self._missed_since: float | None = None
        self._watch: Watch | None = None
        self._is_partial = False  # its log begins where its first reader did
        self._note(reading)

    @property
    def last_event_id(self) -> int:
        """Number of the newest event that is in the store."""
        return super().last_event_id if self.is_over else self._last_id

    def subscribe(self, *, position: int | None = None, **options: Any) -> Subscriber:
        """See `Transcript.subscribe`."""
        if not self.subscribers and self._is_partial:
            self._drop_log()
        if not (self.subscribers or self.is_over):
            if position is None:
                position = 0 if self._first_id == 1 else NOT_READING
            self._is_partial = True
            self.kept_log.begin_after(max(self._first_id - 1, position if position < NOT_READING else 0))
        subscriber = super().subscribe(position=position, **options)
        if not self.is_over and self._following is None:
            self._following = self._keeper.spawn(self._follow())
        return subscriber

    async def reach(self, event_id: int) -> None:
        """See `Transcript.reach`. A caller that got the event from that process may come before the store has it."""
        deadline = time.monotonic() + REACH_SECONDS
        while event_id > self.last_event_id and not self.is_over and time.monotonic() < deadline:
            if (reading := await self._store.read(self.id, 0, 0)) is not None:
                self._note(reading)
                if reading.stored.answer is not None and (stored := await self._store.get(self.id)) is not None:
                    self._adopt(stored)
            await asyncio.sleep(_BEHIND_SECONDS)

    def on_left(self, subscriber: Subscriber) -> None:
        """Report it to the other process at once."""
        if self._watch is not None:
            self._watch.wake()

    def cancel(self) -> None:
        """Request a cancel from the other process."""
        self.cancelling = self._keeper.spawn(self._store.cancel(self.id))

    def hang_up(self, error: Exception) -> None:
        """Cut its streams, because this process ends. Callers that were sent nothing yet get the error."""
        for subscriber in list(self.subscribers):
            subscriber.hang_up(error)

    async def _follow(self) -> None:
        watch = self._watch = self._store.watch(self.id)
        told: int | None = None
        is_first = True  # report the subscriber even if it has left already
        try:
            while is_first or (self.subscribers and not self.is_over):
                is_first = False
                sent = min((subscriber.sent for subscriber in self.subscribers), default=NOT_READING)
                try:
                    told = await self._tell(watch, sent, told)
                    if await self._look(0 if sent == NOT_READING else _BLOCKS):
                        continue
                except RefusedError as error:
                    return self.hang_up(error)
                except StoreError:
                    pass  # retried after the wait
                if self.subscribers and not self.is_over:
                    is_behind = any(each.sent < self.log.last_id for each in self.subscribers)
                    await watch.wait(_BEHIND_SECONDS if is_behind else _LOOK_SECONDS)
        finally:
            self._following = None
            if not self.is_over:
                self._drop_log()
            with suppress(StoreError):
                await watch.close()

    def _drop_log(self) -> None:
        if self._log is not None:
            self.kept_log.close_extended()  # releases its share of the memory
            self._log, self._is_partial = None, False

    async def _tell(self, watch: Watch, sent: int, told: int | None) -> int:
        if sent != told:
            await watch.tell(sent)
        return sent

    async def _look(self, most: int) -> bool:
        """Read at most `most` new blocks, and return whether there was one."""
        log = self.kept_log
        reading = await self._store.read(self.id, log.last_id, most)
        if reading is None:
            self._miss()
            return False
        self._missed_since = None
        self._note(reading)
        if reading.stored.answer is not None:
            await self._finish()
            return False
        log.only_text, log.typed = reading.held.only_text, reading.held.typed
        before = log.last_id
        for entry in reading.entries:
            self._extend(log, entry)
        if log.last_id > before:
            await log.room()
        return log.last_id > before

    def _note(self, reading: Reading) -> None:
        known, self._known = (self.state, self.form), reading.stored
        self._first_id, self._last_id = reading.first_id, reading.held.last_id
        for name in KEPT:
            if name != "answer":
                setattr(self, name, getattr(reading.stored, name))
        if known != (self.state, self.form):
            self._wake_subscribers()

    def _extend(self, log: KeptLog, entry: Entry) -> None:
        if entry.first_id > log.last_id + 1:  # the reader was too slow, and the next events are gone
            sentence = f"The events after {log.last_id} are no longer kept; the first that is kept is {entry.first_id}."
            return self.hang_up(EventsEvictedError(sentence, first_event_id=entry.first_id))
        log.extend(entry)

    async def _finish(self) -> None:
        stored = await self._store.get(self.id)
        if stored is None or stored.events is None or stored.answer is None:
            return self._miss()
        self._end(stored, stored.events)

    def _miss(self) -> None:
        """Handle that the store doesn't have it; the other process may write it again within some seconds."""
        now = time.monotonic()
        self._missed_since = self._missed_since or now
        if now - self._missed_since > REACH_SECONDS:
            stored = self._known
            stored.events = HeldEvents([], self.log.last_id, only_text=True)
            ended = interrupted(stored)
            assert ended.events is not None
            self._end(ended, ended.events)

    def _end(self, stored: StoredInvocation, held: HeldEvents) -> None:
        log = self.kept_log
        is_ahead = log.last_id >= held.last_id  # a reader has events that the store has lost
        log.only_text, log.typed = held.only_text, held.typed
        for entry in held.entries():
            self._extend(log, entry)
        if is_ahead and stored.interrupted and stored.answer is not None:
            end = event_block(b"error", log.last_id + 1, stored.answer.envelope)
            log.extend(Entry(log.last_id + 1, 1, end))
        log.close_extended()
        self._adopt(stored)
        self._wake_subscribers()


class RemoteReaders:
    """Readers in other processes of invocations that run here; see `shared_store.RunningHere`.

    Each is a subscriber of its invocation, like the callers of this process.

    Args:
        running: The invocations that run here, by ID.
    """

    def __init__(self, running: Mapping[str, Transcript]) -> None:
        self._running = running
        self._subscribers: dict[str, tuple[Transcript, Subscriber]] = {}

    def cancel_running(self, invocation_id: str) -> None:
        """See `shared_store.RunningHere`."""
        if (invocation := self._running.get(invocation_id)) is not None:
            invocation.cancel()

    def note_reader(self, invocation_id: str, reader: str, position: int | None) -> None:
        """See `shared_store.RunningHere`."""
        invocation, known = self._running.get(invocation_id), self._subscribers.get(reader)
        if position is None or invocation is None or invocation.is_over:
            self._leave(reader)
        elif known is None:
            try:
                subscriber = invocation.subscribe(position=position)
            except EventsEvictedError:  # the store reports it to the reader
                subscriber = invocation.subscribe(position=NOT_READING)
            self._subscribers[reader] = invocation, subscriber
        else:
            subscriber = known[1]
            subscriber.position = subscriber.sent = position
            if (log := invocation.begun_log) is not None and position < NOT_READING:
                log.note_sent(position)
                log.look_again()

    def forget_readers(self, prefix: str) -> None:
        """See `shared_store.RunningHere`. Removes readers of finished invocations too."""
        for reader, (invocation, _) in list(self._subscribers.items()):
            if reader.startswith(prefix) or invocation.is_over:
                self._leave(reader)

    def _leave(self, reader: str) -> None:
        if (known := self._subscribers.pop(reader, None)) is not None:
            known[1].leave()
