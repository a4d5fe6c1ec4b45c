"""One caller of one invocation: waits for it, reads its events, gets heartbeats, and is noticed if it disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self

from ppio_agent_models import SerializationError

from ..errors import ClientGoneError
from ..http.responses import came_too_late, is_event_stream
from .event_log import LogReader

if TYPE_CHECKING:
    from ..asgi import Receive, Scope, Send
    from .event_log import EventLog

TICKS_UNHEARD: Final = 1
"""After how many ticks to listen for a disconnect; most short calls end before the second tick, even under load."""


class Subscribed(Protocol):
    """The part of an invocation that a subscriber uses."""

    @property
    def log(self) -> EventLog:
        """Its events."""

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove a subscriber. May be called any number of times."""


class Channel(NamedTuple):
    """The ASGI connection of a caller, to which a response object of the handler can be sent."""

    scope: Scope
    receive: Receive
    send: Send


def listen(receive: Receive, on_gone: Callable[[], None]) -> asyncio.Task[None]:
    """Call `on_gone` when `receive` reports that the caller disconnected; cancel the task to stop listening."""

    async def hear() -> None:
        with suppress(asyncio.CancelledError):
            while (await receive())["type"] != "http.disconnect":
                pass
            on_gone()

    return asyncio.get_running_loop().create_task(hear())


class Subscriber(LogReader):
    """A caller; see `Transcript.subscribe`. Leave it with `leave()` or `with`.

    When the last one leaves a running invocation, the work is stopped, at once or after the resume window, unless it
    should continue without callers. The clock of all invocations watches it, so a short wait needs no task.

    Args:
        invocation: The invocation.
        position: Number of the event after which it reads; `NOT_READING` to read no events.
        receive: Reports its disconnect; None if it can't disconnect.
        heartbeat_seconds: Silence after which `take` returns nothing; infinite for never.
        channel: Its connection, if it can be sent a response object of the handler; None after that.
        unacknowledged: See `LogReader`.

    Attributes:
        took_response: It was sent a response object of the handler, live.
        begun: Its stream has begun.
        gone: It has disconnected.
    """

    __slots__ = (
        "_heartbeat_is_due", "_heartbeat_seconds", "_invocation", "_is_taking", "_listener", "_quiet_since", "_receive",
        "_refusal", "_ticks", "begun", "channel", "gone", "took_response",
    )  # fmt: skip

    def __init__(
        self,
        invocation: Subscribed,
        position: int,
        receive: Receive | None,
        heartbeat_seconds: float,
        channel: Channel | None,
        unacknowledged: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(position, unacknowledged)
        self.channel = channel
        self.took_response: bool = False
        self.begun: bool = False
        self.gone: bool = False
        self._invocation = invocation
        self._receive = receive
        self._heartbeat_seconds = heartbeat_seconds
        self._listener: asyncio.Task[None] | None = None
        self._is_taking = False
        self._heartbeat_is_due = False
        self._quiet_since = 0.0
        self._ticks = 0
        self._refusal: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    @property
    def log(self) -> EventLog:
        """The events of its invocation."""
        return self._invocation.log

    async def until(self, is_so: Callable[[], bool], seconds: float | None = None) -> None:
        """Wait until a condition is true, for `seconds` at most.

        Raises:
            ClientGoneError: The caller disconnected.
        """
        time_is_up: list[bool] = []
        timer = None
        if seconds is not None:
            timer = asyncio.get_running_loop().call_later(seconds, self._time_is_up, time_is_up)
        try:
            while not (self.gone or time_is_up or is_so()):
                await self.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._check_gone()

    def read_from_start(self) -> None:
        """Read from the first event on.

        Raises:
            EventsEvictedError: It is no longer kept.
        """
        self.log.check_held(0)
        self.position = self.sent = 0

    async def take(self) -> list[bytes]:
        """Return the next events of the log; see `EventLog.take`. Nothing at its end, or when a heartbeat is due.

        Raises:
            ClientGoneError: The caller disconnected.
        """
        log = self._invocation.log
        taken: list[bytes] = []
        self._quiet_since = 0.0  # set by the clock at its next tick, which is cheaper than in every `take`
        self._heartbeat_is_due = False
        self._is_taking = True
        try:
            while not (self.gone or taken or self._heartbeat_is_due or log.is_read(self)):
                taken = await log.take(self)
        finally:
            self._is_taking = False
        self._check_gone()
        return taken

    @property
    def at_end(self) -> bool:
        """Whether it has read all events of a closed log."""
        return self._invocation.log.is_read(self)

    async def chunks(self) -> list[bytes]:
        """Read a stream to its end while it is made, so that its log doesn't need room for all of it.

        Raises:
            ClientGoneError: The caller disconnected.
        """
        log, chunks = self.log, []
        while not self.at_end:
            chunks += log.chunks_of(await self.take())
        return chunks

    def take_channel(self) -> Channel:
        """Return its connection, to send it a response object of the handler."""
        channel, self.channel = self.channel, None
        assert channel is not None
        self.took_response = True
        return channel

    def on_tick(self, now: float) -> None:
        """Check for a disconnect and a due heartbeat, at every tick of the clock.

        Args:
            now: The loop's time.
        """
        self._ticks += 1
        if self._ticks == TICKS_UNHEARD + 1 and self._receive is not None:
            self._listener = listen(self._receive, self._note_gone)
        if not self._is_taking:
            return
        if not self._quiet_since:
            self._quiet_since = now
        elif now - self._quiet_since >= self._heartbeat_seconds:
            self._heartbeat_is_due = True
            self.wake()

    def postpone(self, seconds: float, before: float) -> None:
        """See `ticker.Watched`."""
        if 0 < self._quiet_since < before:
            self._quiet_since += seconds

    def listen(self, receive: Receive) -> None:
        """Listen for a disconnect from now on, if it doesn't already."""
        if self._receive is None:
            self._receive, self._ticks = receive, 0

    def hang_up(self, error: Exception) -> None:
        """Cut its stream, or respond with an error if nothing was sent yet."""
        if not self.gone:
            self.gone, self._refusal = True, error
            self.wake()

    def _check_gone(self) -> None:
        if self.gone:
            raise ClientGoneError if self.begun or self._refusal is None else self._refusal

    def leave(self) -> None:
        """Stop waiting. May be called any number of times."""
        if self._listener is not None and not self.gone:
            self._listener.cancel()
        self._invocation.unsubscribe(self)

    def _time_is_up(self, time_is_up: list[bool]) -> None:
        time_is_up.append(True)
        self.wake()

    def _note_gone(self) -> None:
        self.gone = True
        self._invocation.unsubscribe(self)
        self.wake()


def taker_of(response: Any, subscribers: Iterable[Subscriber]) -> Subscriber:
    """Return the caller to send a response to that can only be sent once: the one that has waited longest.

    Raises:
        SerializationError: There is none.
    """
    waiting = [each for each in subscribers if each.channel is not None and not each.gone]
    for subscriber in waiting:
        if not subscriber.begun or is_event_stream(response):
            return subscriber
    if waiting:
        raise came_too_late()
    raise SerializationError(
        f"result is a {type(response).__name__}, which can only be sent to a caller that waits for it and whose "
        "response has not begun; there is none. Return a generator or a value instead."
    )
