"""Logs, at most once a minute, that no file descriptors are left for new connections.

uvloop then drops connections silently; asyncio logs a traceback for each attempt to accept one, thousands a second.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Any, Final

from .observability.logging import logger

if TYPE_CHECKING:
    import asyncio

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE})
_SILENCE_SECONDS: Final = 60.0


class DescriptorWatch:
    """Checks whether the process can still open a file descriptor."""

    def __init__(self) -> None:
        self._told_at = -_SILENCE_SECONDS

    def check(self) -> None:
        """Log if no descriptor is left. Takes a few microseconds."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._tell(error)

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error that an event loop reports; pass everything but a lack of descriptors to the default."""
        error, message = context.get("exception"), context.get("message", "")
        if isinstance(error, OSError) and error.errno in _EXHAUSTED and "accept" in message:
            self._tell(error)
        elif "._start_serving(" not in message:  # asyncio's thousands of retries, when the server ends before them
            loop.default_exception_handler(context)

    def _tell(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._told_at >= _SILENCE_SECONDS:
            self._told_at = now
            logger.error(
                "New connections are refused: no file descriptors are left (%s). Raise the limit with 'ulimit -n', or "
                "serve fewer callers.",
                error.strerror,
            )
