"""How many invocations run at once, in the process and in one session, and what happens to those beyond.

An invocation acquires a slot when it is admitted and releases it when it is over: after its last byte, and after the
thread of a plain `def` has returned. Such a thread can't be stopped. If its slot were free as soon as its caller gave
up, a second call would work on the same session while the first still does, and a process limit would not limit the
work.

All of it happens on the event loop of the handlers, without locks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from ppio_agent_models import InvocationCancelledError, SessionBusyError, UnavailableError

from ..invocations.manager import draining_error

if TYPE_CHECKING:
    from ..context import RequestContext
    from ..invocations.invocation import Invocation

WhenBusy = Literal["reject", "queue", "interrupt"]

_RETRY_AFTER_SECONDS: Final = 1.0


class _Slot:
    """The slot of one invocation, or its place in the queue.

    Attributes:
        holders: How many must end before the slot is free: the invocation itself, its threads, and its children.
        over: The invocation has ended; only a thread is left.
        admitted: For one that waits: True when it gets the slot, False when the service drains.
    """

    __slots__ = ("admitted", "holders", "invocation", "over", "session")

    def __init__(self, invocation: Invocation, session: str | None) -> None:
        self.invocation = invocation
        self.session = session
        self.holders = 1
        self.over = False
        self.admitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class Concurrency:
    """The slots of one service.

    Args:
        limit: Slots in the process, None for no limit.
        per_session: Slots of one session, None for no limit. Invocations without a session are not limited by it.
        when_busy: What happens to an invocation that finds no slot: `reject` refuses it; `queue` lets it wait, first
            come, first served, those of one session in order; `interrupt` cancels the oldest of its session and gives
            it that slot, but refuses it if only the process is full.
        max_queue: Invocations that may wait.
    """

    def __init__(self, limit: int | None, per_session: int | None, when_busy: WhenBusy, max_queue: int) -> None:
        self._limit = limit
        self._per_session = per_session
        self._when_busy = when_busy
        self._max_queue = max_queue
        self._slots: dict[RequestContext, _Slot] = {}
        self._shared: dict[RequestContext, _Slot] = {}
        self._sessions: dict[str, dict[_Slot, None]] = {}
        self._queue: dict[_Slot, None] = {}

    @property
    def in_flight(self) -> int:
        """How many slots are taken."""
        return len(self._slots)

    @property
    def queued(self) -> int:
        """How many invocations wait for one."""
        return len(self._queue)

    def try_acquire(self, invocation: Invocation) -> bool:
        """Take a slot for `invocation` if there is one; return whether there was."""
        if (shared := self._slot_of(invocation.context.parent)) is not None:  # waiting for another could deadlock
            self._shared[invocation.context] = shared
            shared.holders += 1
            return True
        session = self._session_of(invocation)
        if self._is_full() or self._session_is_full(session):
            return False
        self._take(_Slot(invocation, session))
        return True

    async def acquire(self, invocation: Invocation) -> None:
        """Take a slot for `invocation`, waiting for one if that is allowed.

        Raises:
            UnavailableError: The process or the queue is full, or the service drains.
            SessionBusyError: The session is.
        """
        if self.try_acquire(invocation):
            return
        slot = _Slot(invocation, self._session_of(invocation))
        self._check_may_wait(slot.session)
        self._queue[slot] = None
        invocation.on_queue()
        try:
            admitted = await slot.admitted
        except asyncio.CancelledError:
            self._queue.pop(slot, None)
            if self._slots.get(invocation.context) is slot:
                self._free(slot)
            raise
        if not admitted:
            raise draining_error()

    def release(self, invocation: Invocation) -> None:
        """Record that an invocation is over; its slot is free once its threads have returned."""
        if (shared := self._shared.pop(invocation.context, None)) is not None:
            return self._free(shared)
        slot = self._slots[invocation.context]
        slot.over = True
        self._free(slot)

    def drain(self) -> None:
        """Refuse the waiting invocations; the running ones continue."""
        waiting, self._queue = self._queue, {}
        for slot in waiting:
            if not slot.admitted.done():
                slot.admitted.set_result(False)

    def hold(self, context: RequestContext | None) -> Callable[[], None] | None:
        """Hold the slot of an invocation until the returned function is called, on the same event loop."""
        slot = self._slot_of(context)
        if slot is None:
            return None
        slot.holders += 1
        return lambda: self._free(slot)

    def _slot_of(self, context: RequestContext | None) -> _Slot | None:
        return None if context is None else self._slots.get(context) or self._shared.get(context)

    def _session_of(self, invocation: Invocation) -> str | None:
        return None if self._per_session is None else invocation.context.session_id

    def _is_full(self) -> bool:
        return self._limit is not None and len(self._slots) >= self._limit

    def _session_is_full(self, session: str | None) -> bool:
        if session is None or self._per_session is None:
            return False
        return len(self._sessions.get(session, ())) >= self._per_session

    def _take(self, slot: _Slot) -> None:
        self._slots[slot.invocation.context] = slot
        if slot.session is not None:
            self._sessions.setdefault(slot.session, {})[slot] = None

    def _free(self, slot: _Slot) -> None:
        slot.holders -= 1
        if slot.holders:
            return
        del self._slots[slot.invocation.context]
        if slot.session is not None:
            others = self._sessions[slot.session]
            del others[slot]
            if not others:
                del self._sessions[slot.session]
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        """Give free slots to waiting invocations, in the order of their arrival.

        Those that remain wait for a slot that a new invocation could not get either, so none is overtaken.
        """
        for slot in list(self._queue):
            if self._is_full():
                return
            if not slot.admitted.done() and not self._session_is_full(slot.session):
                del self._queue[slot]
                self._take(slot)
                slot.admitted.set_result(True)

    def _check_may_wait(self, session: str | None) -> None:
        """Raise an error if an invocation may not wait for a slot; with `interrupt`, free one."""
        if self._when_busy == "queue":
            if len(self._queue) >= self._max_queue:
                raise _full(f"The queue is full: {self._max_queue} invocations wait, the limit 'max_queue'.")
        elif not self._session_is_full(session):
            raise _full(f"The agent is busy: {self._limit} invocations run, the limit 'max_concurrency'.")
        elif self._when_busy == "interrupt" and session is not None:
            self._interrupt(session)
        else:
            raise SessionBusyError(
                f"The session is busy: {self._per_session} of its invocations run, the limit "
                "'max_concurrency_per_session'.",
                retry_after=_RETRY_AFTER_SECONDS,
            )

    def _interrupt(self, session: str) -> None:
        """Cancel the oldest invocations of a session, waiting ones too, until a new one fits in."""
        assert self._per_session is not None
        running = [slot.invocation for slot in self._sessions.get(session, ()) if not slot.over]
        waiting = [slot.invocation for slot in self._queue if slot.session == session]
        alive = [each for each in running + waiting if each.cancel_scope.reason is None]
        for oldest in alive[: len(alive) - self._per_session + 1]:
            oldest.stop(InvocationCancelledError("A newer invocation of the same session took over."))


def _full(message: str) -> UnavailableError:
    return UnavailableError(message, retry_after=_RETRY_AFTER_SECONDS)
