"""Where log lines go: standard error, the lines of the access log several in one write.

A busy agent ends dozens of invocations in one turn of its event loop, and a write for each is a syscall. Their lines
wait for the end of the turn, or for a line of another logger, which goes out behind them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Final

from ._access_log import access_logger

_MOST_CHARACTERS: Final = 4000
"""Pipes take up to 4096 bytes as a whole (POSIX, PIPE_BUF): lines of other processes cannot come in between."""


class LineHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic for type checkers only
    """Writes records to standard error, in the order in which they were made."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._waiting: list[str] = []
        self._size = 0
        self._last: logging.LogRecord | None = None
        self._turn_of: asyncio.AbstractEventLoop | None = None
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(before=self.flush)  # or a child would write the same lines again at its end

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, now or at the end of the turn."""
        try:
            line = self.format(record) + self.terminator
            self._size += len(line)
            if self._size > _MOST_CHARACTERS and self._waiting:
                self.flush()
                self._size = len(line)
            self._waiting.append(line)
            self._last = record
            if record.name != access_logger.name or not self._flushes_soon():
                self.flush()
        except RecursionError:  # as the base class does
            raise
        except Exception:  # noqa: BLE001  # what fails to be logged must not fail what it is about
            self.handleError(record)

    def flush(self) -> None:
        """Write what waits."""
        with self.lock:  # type: ignore[union-attr]  # None before the base class's `__init__`
            if self._waiting:
                waiting, self._waiting, self._size = self._waiting, [], 0  # a signal handler may log in between
                self.stream.write("".join(waiting))
            super().flush()

    def _flushes_soon(self) -> bool:
        """Let the running event loop flush at the end of its turn; False where none runs."""
        loop = asyncio._get_running_loop()
        if loop is None:
            return False
        if self._turn_of is not loop:
            self._turn_of = loop
            loop.call_soon(self._end_turn)
        return True

    def _end_turn(self) -> None:
        self._turn_of = None
        try:
            self.flush()
        except Exception:  # noqa: BLE001  # as in `emit`
            assert self._last is not None
            self.handleError(self._last)
