"""Reads single keys of a terminal, without Enter; restores the terminal when it stops."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Keys:
    """Reads keys between `start` and `stop`, in its own thread.

    Args:
        on_key: Called in that thread with each key.
    """

    def __init__(self, on_key: Callable[[str], None]) -> None:
        self._on_key = on_key
        self._thread: threading.Thread | None = None
        self._wake = -1
        self._before: list[Any] = []

    @staticmethod
    def can_listen() -> bool:
        """Return whether standard input is a terminal with this program in the foreground (never on Windows)."""
        if sys.platform == "win32" or not sys.stdin.isatty():
            return False
        with suppress(OSError):  # It is not the terminal of this session.
            return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
        return False

    def start(self) -> None:
        """Start to read: input is no longer echoed, and Ctrl-C works as before."""
        if sys.platform == "win32" or self._thread is not None:
            return
        import termios
        import tty

        self._before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin, termios.TCSADRAIN)
        ours, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._listen, args=[ours], daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and restore the terminal."""
        if sys.platform == "win32" or self._thread is None:
            return
        import termios

        os.close(self._wake)
        self._thread.join()
        self._thread = None
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def _listen(self, woken: int) -> None:
        terminal = sys.stdin.fileno()
        with os.fdopen(woken):
            while True:
                ready, _, _ = select.select([terminal, woken], [], [])
                if woken in ready:
                    return
                key = b""
                with suppress(OSError):  # The terminal was closed.
                    key = os.read(terminal, 1)
                if not key:
                    return
                self._on_key(key.decode("ascii", "replace"))
