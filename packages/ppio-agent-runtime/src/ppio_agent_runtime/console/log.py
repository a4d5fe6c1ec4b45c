"""The last lines that a process logged and printed, and new ones as they come. Only under `ppio-agent dev`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ..context import current_context
from ..serialization import encode
from ..text import cut

if TYPE_CHECKING:
    from ..asgi import Receive, Send

VARIABLE: Final = "PPIO_AGENT_CONSOLE_LOG"
"""`1` in the environment of an agent that `ppio-agent dev` runs."""
KEPT_LINES: Final = 1000
REPLAYED_LINES: Final = 500
"""How many of them a new reader gets."""
_MAX_CHARS: Final = 16 * 1024
_LOOK_SECONDS: Final = 1.0
"""How often a reader's connection checks whether the agent drains, so that it does not delay that."""


def is_wanted() -> bool:
    """Return whether this process should keep its lines."""
    return os.environ.get(VARIABLE) == "1"


class LogLines:
    """The last lines of this process, numbered from 1. Any thread may add lines; readers are on event loops."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, bytes]] = deque(maxlen=KEPT_LINES)
        self._last = 0
        self._lock = threading.Lock()
        self._wakers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def add(self, **line: Any) -> None:
        """Add a line; see `docs/console.md` for its fields."""
        context = current_context.get()
        data = encode(line | {"run": None if context is None else context.invocation_id})
        with self._lock:
            self._last += 1
            self._lines.append((self._last, data))
            for loop, event in self._wakers:
                loop.call_soon_threadsafe(event.set)

    def after(self, position: int) -> tuple[list[tuple[int, bytes]], int]:
        """Return the lines after number `position`, and how many of them are no longer kept."""
        with self._lock:
            found = [line for line in self._lines if line[0] > position]
            return found, self._last - position - len(found)

    @property
    def last(self) -> int:
        """Number of the newest line."""
        return self._last

    @contextmanager
    def waking(self, event: asyncio.Event) -> Iterator[None]:
        """Set an event of the running loop at each line, inside of the block."""
        entry = asyncio.get_running_loop(), event
        with self._lock:
            self._wakers.add(entry)
        try:
            yield
        finally:
            with self._lock:
                self._wakers.discard(entry)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect what is logged and printed inside of the block."""
        handler, printed = _Handler(self), _Printed(sys.stdout, self)
        root = logging.getLogger()
        root.addHandler(handler)
        before, sys.stdout = sys.stdout, printed
        try:
            yield
        finally:
            root.removeHandler(handler)
            if sys.stdout is printed:
                sys.stdout = before


class _Handler(logging.Handler):
    """Adds the records of all loggers."""

    def __init__(self, lines: LogLines) -> None:
        super().__init__()
        self._lines = lines
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record; errors are reported as `logging` reports those of any handler."""
        try:
            self._lines.add(
                at=record.created,
                level=record.levelname,
                logger=record.name,
                message=cut(self.format(record), _MAX_CHARS),
                source="log",
                where=f"{record.filename}:{record.lineno}",
            )
        except Exception:  # noqa: BLE001  # a handler must not fail
            self.handleError(record)


class _Printed:
    """A wrapper of standard output that also adds each line to the kept lines.

    Args:
        stream: The original standard output.
        lines: The kept lines.
    """

    def __init__(self, stream: Any, lines: LogLines) -> None:
        self._stream = stream
        self._lines = lines
        self._begun = ""

    def write(self, text: str) -> int:
        """Write a text."""
        written: int = self._stream.write(text)
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._add(line)
        if len(self._begun) > _MAX_CHARS:  # a progress display, perhaps
            self._add(self._begun)
            self._begun = ""
        return written

    def _add(self, line: str) -> None:
        fields = {"level": None, "logger": None, "message": cut(line, _MAX_CHARS), "source": "stdout", "where": None}
        self._lines.add(at=time.time(), **fields)

    def writelines(self, texts: list[str]) -> None:
        """Write several texts."""
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


async def stream(
    lines: LogLines, position: int | None, is_draining: Any, heartbeat_seconds: float, receive: Receive, send: Send
) -> None:
    """Send lines as server-sent events until the reader disconnects or the agent drains. Headers are sent already.

    Args:
        position: Number of the last line that the reader has; None for a new reader.
        is_draining: Returns whether the agent drains.
    """
    last = lines.last
    at = max(0, last - REPLAYED_LINES) if position is None or position > last else position
    event = asyncio.Event()
    leaving = asyncio.get_running_loop().create_task(_disconnected(receive))
    quiet_since = time.monotonic()
    try:
        with lines.waking(event):
            while not (is_draining() or leaving.done()):
                event.clear()
                found, gone = lines.after(at)
                parts = [b'event: dropped\ndata: {"lines": %d}\n\n' % gone] if gone else []
                parts += [b"id: %d\ndata: %b\n\n" % line for line in found]
                if not parts and time.monotonic() - quiet_since >= heartbeat_seconds:
                    parts = [b": keep-alive\n\n"]
                if parts:
                    at, quiet_since = at + gone + len(found), time.monotonic()
                    await send({"type": "http.response.body", "body": b"".join(parts), "more_body": True})
                await _wait(event, leaving)
    finally:
        leaving.cancel()
    await send({"type": "http.response.body", "body": b""})


async def _wait(event: asyncio.Event, leaving: asyncio.Task[None]) -> None:
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait({waiting, leaving}, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
