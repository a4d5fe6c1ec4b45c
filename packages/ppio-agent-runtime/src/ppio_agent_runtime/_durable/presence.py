"""A caller who waits for something that goes on without it: noticed when it hangs up, kept awake with heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .._problems import ClientGoneError

if TYPE_CHECKING:
    from .._asgi import Receive, Scope, Send
    from .._records.event_reader import EventReader

Channel = tuple["Scope", "Receive", "Send"]


class Presence:
    """One caller of a durable invocation. The clock of `Invocations` watches it, so a short wait costs no task.

    Args:
        receive: Where its hanging up is heard.
        heartbeat_seconds: Silence after which `take` returns without events.
        channel: How to answer it, for one who can be sent a response of the agent's own.

    Attributes:
        channel: The same; None once it has been used.
        took_response: It was sent a response of the agent's own, live.
        gone: It has hung up.
    """

    __slots__ = (
        "_heartbeat_seconds",
        "_listener",
        "_quiet_since",
        "_reader",
        "_receive",
        "_waiter",
        "channel",
        "gone",
        "took_response",
    )

    def __init__(self, receive: Receive, heartbeat_seconds: float, channel: Channel | None = None) -> None:
        self.channel = channel
        self.took_response = False
        self.gone = False
        self._receive = receive
        self._heartbeat_seconds = heartbeat_seconds
        self._listener: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._reader: EventReader | None = None
        self._quiet_since = 0.0

    @property
    def can_take_response(self) -> bool:
        """Whether it can be sent a response of the agent's own."""
        return self.channel is not None and not self.gone

    def take_channel(self) -> Channel:
        """Return how to send it a response of the agent's own, which it gets now."""
        channel, self.channel = self.channel, None
        assert channel is not None
        self.took_response = True
        return channel

    async def until(self, is_so: Callable[[], bool], limit_seconds: float | None = None) -> bool:
        """Wait until it is so, looking whenever somebody calls `wake`; say whether it was within `limit_seconds`.

        Raises:
            ClientGoneError: The caller hung up first.
        """
        if is_so():
            return True
        loop = asyncio.get_running_loop()
        over: list[bool] = []
        timer = None if limit_seconds is None else loop.call_later(limit_seconds, self._time_is_up, over)
        try:
            while not (is_so() or over):
                if self.gone:
                    raise ClientGoneError
                self._waiter = loop.create_future()
                await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        return is_so()

    async def take(self, reader: EventReader) -> list[bytes]:
        """Return the next events, or an empty list at the end of the log or when a heartbeat is due.

        Raises:
            ClientGoneError: The caller hung up.
        """
        if self.gone:
            raise ClientGoneError
        self._reader = reader
        self._quiet_since = 0.0
        try:
            blocks = await reader.take()
        finally:
            self._reader = None
        if self.gone:
            raise ClientGoneError
        return blocks

    def wake(self) -> None:
        """Let a waiting `until` look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def watch(self, now: float) -> None:
        """Look after the caller, at every tick of the clock.

        Args:
            now: The loop's time.
        """
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen())
        if self._reader is None:
            return
        if not self._quiet_since:
            self._quiet_since = now
        elif now - self._quiet_since >= self._heartbeat_seconds:
            self._reader.wake()

    def postpone(self, seconds: float, before: float) -> None:
        """See `_engine.invocations.Watched`."""
        if 0 < self._quiet_since < before:
            self._quiet_since += seconds

    def release(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.cancel()

    def _time_is_up(self, over: list[bool]) -> None:
        over.append(True)
        self.wake()

    async def _listen(self) -> None:
        with suppress(asyncio.CancelledError):
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self.gone = True
            self.wake()
            if self._reader is not None:
                self._reader.wake()
