"""How many invocations run at once, in the process and in one session, and what happens to those beyond.

A run takes a place when it comes in and gives it back when it is over: after its last byte, and after the thread of a
plain `def` has returned. Nobody can stop such a thread. If its place were free as soon as its caller gave up, a second
turn would work on the same session while the first still does, and a process limit would not limit the work.

All of it happens on the event loop of the handlers, without locks.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

from ppio_agent_models import InvocationCancelledError, SessionBusyError, UnavailableError

from ..invocations.manager import draining_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._engine.context import RequestContext
    from ..invocations.invocation import Invocation

WhenBusy = Literal["reject", "queue", "interrupt"]
Reason = Literal["process_full", "session_busy", "queue_full", "draining"]

_RETRY_AFTER_SECONDS: Final = 1.0


class _Place:
    """What one run occupies.

    Attributes:
        holders: How many things must end before it is free: the run itself and its threads.
        over: The run has ended; only a thread is left.
    """

    __slots__ = ("holders", "over", "run", "session")

    def __init__(self, run: Invocation, session: str | None) -> None:
        self.run = run
        self.session = session
        self.holders = 1
        self.over = False


class _Turn:
    """A run in the queue. Its future is True once it has a place, False when the service drains."""

    __slots__ = ("place", "run", "session", "told")

    def __init__(self, run: Invocation, session: str | None) -> None:
        self.run = run
        self.session = session
        self.place: _Place | None = None
        self.told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class Concurrency:
    """The places of one service.

    Args:
        limit: Places in the process, None for any number.
        per_session: Places of one session, None for any number. Runs without a session do not count for one.
        when_busy: What happens to a run that finds no place: `reject` refuses it; `queue` lets it wait, first come,
            first served, those of one session in order; `interrupt` cancels the oldest run of its session and takes
            over its place, and refuses it where only the process is full.
        max_queue: Runs that may wait.

    Attributes:
        rejected: How many were refused, by reason.
        interrupted: How many were cancelled for a newer one of their session.
    """

    def __init__(self, limit: int | None, per_session: int | None, when_busy: WhenBusy, max_queue: int) -> None:
        self._limit = limit
        self._per_session = per_session
        self._when_busy = when_busy
        self._max_queue = max_queue
        self._places: dict[RequestContext, _Place] = {}
        self._guests: dict[RequestContext, _Place] = {}
        self._sessions: dict[str, dict[_Place, None]] = {}
        self._queue: dict[_Turn, None] = {}
        self.rejected: dict[Reason, int] = {"process_full": 0, "session_busy": 0, "queue_full": 0, "draining": 0}
        self.interrupted = 0

    @property
    def in_flight(self) -> int:
        """How many places are taken."""
        return len(self._places)

    @property
    def queued(self) -> int:
        """How many runs wait for one."""
        return len(self._queue)

    def lets_in(self, run: Invocation) -> bool:
        """Take a place for `run` if there is one, and say whether there was."""
        if (host := self._host_of(run)) is not None:
            self._guests[run.context] = host
            host.holders += 1
            return True
        session = self._session_of(run)
        if not self._has_room(session):
            return False
        self._take(run, session)
        return True

    async def enter(self, run: Invocation) -> None:
        """Take a place for `run`, waiting for one where that is allowed.

        Raises:
            UnavailableError: The process or the queue is full, or the service drains.
            SessionBusyError: The session is.
        """
        if self.lets_in(run):
            return
        session = self._session_of(run)
        self._check_may_wait(session)
        turn = _Turn(run, session)
        self._queue[turn] = None
        run.on_queue()
        try:
            admitted = await turn.told
        except asyncio.CancelledError:
            self._queue.pop(turn, None)
            if turn.place is not None:
                self._release(turn.place)
            raise
        if not admitted:
            self.rejected["draining"] += 1
            raise draining_error()

    def leave(self, run: Invocation) -> None:
        """Note that a run is over; its place is free once its threads have returned."""
        if (host := self._guests.pop(run.context, None)) is not None:
            return self._release(host)
        place = self._places[run.context]
        place.over = True
        self._release(place)

    def drain(self) -> None:
        """Refuse everybody who waits; those who run go on."""
        turns = list(self._queue)
        self._queue.clear()
        for turn in turns:
            if not turn.told.done():
                turn.told.set_result(False)

    def hold(self, context: RequestContext | None) -> Callable[[], None] | None:
        """Keep the place of an invocation taken until what this returns is called, on the same event loop."""
        place = None if context is None else self._places.get(context) or self._guests.get(context)
        if place is None:
            return None
        place.holders += 1
        return lambda: self._release(place)

    def _host_of(self, run: Invocation) -> _Place | None:
        """Return the place of the invocation that made this one: waiting for another one might never end."""
        parent = run.context.parent
        return None if parent is None else self._places.get(parent) or self._guests.get(parent)

    def _session_of(self, run: Invocation) -> str | None:
        return None if self._per_session is None else run.context.session_id

    def _has_room(self, session: str | None) -> bool:
        return (self._limit is None or len(self._places) < self._limit) and self._session_has_room(session)

    def _session_has_room(self, session: str | None) -> bool:
        if session is None or self._per_session is None:
            return True
        return len(self._sessions.get(session, ())) < self._per_session

    def _take(self, run: Invocation, session: str | None) -> _Place:
        place = self._places[run.context] = _Place(run, session)
        if session is not None:
            self._sessions.setdefault(session, {})[place] = None
        return place

    def _release(self, place: _Place) -> None:
        place.holders -= 1
        if place.holders:
            return
        del self._places[place.run.context]
        if place.session is not None:
            others = self._sessions[place.session]
            del others[place]
            if not others:
                del self._sessions[place.session]
        if self._queue:
            self._admit_waiting()

    def _admit_waiting(self) -> None:
        """Give free places to those who wait, in the order in which they came.

        Whoever is left waits for a place that a newcomer could not have either, so nobody is overtaken.
        """
        for turn in list(self._queue):
            if self._limit is not None and len(self._places) >= self._limit:
                return
            if turn.told.done() or not self._session_has_room(turn.session):
                continue
            del self._queue[turn]
            turn.place = self._take(turn.run, turn.session)
            turn.told.set_result(True)

    def _check_may_wait(self, session: str | None) -> None:
        """Return when a run may wait for a place; with `interrupt`, after making one free."""
        session_is_busy = not self._session_has_room(session)
        if self._when_busy == "queue":
            if len(self._queue) >= self._max_queue:
                self.rejected["queue_full"] += 1
                raise _full(f"The queue is full: {self._max_queue} invocations wait, the limit 'max_queue'.")
        elif not session_is_busy:
            self.rejected["process_full"] += 1
            raise _full(f"The agent is busy: {self._limit} invocations run, the limit 'max_concurrency'.")
        elif self._when_busy == "interrupt" and session is not None:
            self._interrupt(session)
        else:
            self.rejected["session_busy"] += 1
            raise SessionBusyError(
                f"The session is busy: {self._per_session} of its invocations run, the limit "
                "'max_concurrency_per_session'.",
                retry_after=_RETRY_AFTER_SECONDS,
            )

    def _interrupt(self, session: str) -> None:
        """Cancel the oldest runs of a session, waiting ones too, until a newcomer fits in."""
        assert self._per_session is not None
        running = [place.run for place in self._sessions.get(session, ()) if not place.over]
        waiting = [turn.run for turn in self._queue if turn.session == session]
        alive = [run for run in running + waiting if run.stop_reason is None]
        for run in alive[: len(alive) - self._per_session + 1]:
            self.interrupted += 1
            run.stop(InvocationCancelledError("A newer invocation of the same session took over."))


def _full(message: str) -> UnavailableError:
    return UnavailableError(message, retry_after=_RETRY_AFTER_SECONDS)
