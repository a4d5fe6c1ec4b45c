"""Reads lines: from a terminal with an editor and a history, or from a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .messages import tr
from .output import screen

if TYPE_CHECKING:
    from collections.abc import Callable


class LineReader:
    """Reads lines.

    Attributes:
        is_terminal: Whether input and output are a terminal.
    """

    def __init__(self) -> None:
        self.is_terminal: bool = sys.stdin.isatty() and screen.is_terminal and not screen.as_json
        self._edit = self._editor() if self.is_terminal else None

    def read(self, prompt: str) -> str | None:
        """Return the next line; None at the end of the input (Ctrl-D).

        Raises:
            KeyboardInterrupt: Ctrl-C.
            UsageError: A line of a pipe is not UTF-8.
        """
        if self._edit is not None:
            try:
                return str(self._edit(prompt))
            except EOFError:
                return None
        line = sys.stdin.buffer.readline()
        try:
            return line.decode("utf-8").rstrip("\r\n") if line else None
        except UnicodeDecodeError as error:
            raise UsageError(
                tr("standard input is not UTF-8: byte {position} of a line is invalid.", position=error.start)
            ) from error

    @staticmethod
    def _editor() -> Callable[[str], Any]:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import InMemoryHistory

        # The history is never written to a file.
        return PromptSession(history=InMemoryHistory(), reserve_space_for_menu=0).prompt
