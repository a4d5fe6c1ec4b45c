"""All output: data on standard output, everything else on standard error. No other module prints.

Colours and animation are for terminals only, and not with `NO_COLOR` or `TERM=dumb`. Everything is UTF-8 in any locale.
Rich is imported only when it is needed.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO
from unicodedata import combining, east_asian_width

from .messages import tr

if TYPE_CHECKING:
    from rich.console import Console


_ERROR_STYLE: Final = "bold red"
_WARNING_STYLE: Final = "yellow"
_QUIET_STYLE: Final = "dim"


_ERRORS: Final = "ppio-agent"
"""Bytes of a path that are not UTF-8 are written unchanged; characters that cannot be encoded are escaped."""


def _keep_or_escape(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


codecs.register_error(_ERRORS, _keep_or_escape)


class Output:
    """The two streams of a command, and the options for output.

    Attributes:
        as_json: Data and errors are JSON documents.
        quiet: Show only data and errors.
        verbose: Show details too.
        debug: Show tracebacks too.
    """

    def __init__(self) -> None:
        self.as_json: bool = False
        self.quiet = False
        self.verbose = False
        self.debug: bool = False

    def begin(self, arguments: Sequence[str]) -> None:
        """Set the streams to UTF-8, and find out whether errors in the arguments are to be JSON."""
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors=_ERRORS)
        self.as_json = "--json" in arguments
        self.debug = "--debug" in arguments

    @property
    def is_terminal(self) -> bool:
        """Whether standard output is a terminal."""
        return sys.stdout.isatty()

    @property
    def can_ask(self) -> bool:
        """Whether a user can answer questions."""
        return sys.stdin.isatty() and sys.stderr.isatty() and not self.as_json

    @property
    def is_animated(self) -> bool:
        """Whether animation is possible on standard error."""
        return _draws(sys.stderr) and not (self.quiet or self.as_json)

    def result(self, document: object, shown: object = None) -> None:
        """Print the data of a command: `document` with `--json`, else `shown`, a text or a Rich renderable.

        Without `shown` the document is printed as JSON anyway.
        """
        if self.as_json or shown is None:
            self.text(f"{self.json_text(document)}\n")
        elif isinstance(shown, str):
            self.text(shown if shown.endswith("\n") else f"{shown}\n")
        else:
            _console(sys.stdout).print(shown)

    def line(self, document: object) -> None:
        """Print a document of a stream of documents as one line."""
        self.text(f"{json.dumps(document, ensure_ascii=False, default=str)}\n")

    def json_text(self, document: object) -> str:
        """Return JSON: indented on a terminal, else on one line."""
        return json.dumps(document, ensure_ascii=False, default=str, indent=2 if self.is_terminal else None)

    def text(self, text: str) -> None:
        """Write text to standard output unchanged, and flush."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def table(self, document: object, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a list: `document` with `--json`, else aligned columns."""
        if self.as_json:
            self.result(document)
        elif self.is_terminal:
            self.result(document, _table(columns, rows))
        else:
            self.text(_columns(columns, rows))

    def note(self, text: str, style: str | None = None) -> None:
        """Show a message, unless `--quiet`."""
        if not self.quiet:
            self._tell(text, style)

    def box(self, text: str, style: str) -> None:
        """Show a prominent message, in a box if the terminal supports it."""
        if not _draws(sys.stderr):
            self.note(text)
        elif not self.quiet:
            from rich.panel import Panel
            from rich.text import Text

            _console(sys.stderr).print(Panel.fit(Text(text, overflow="fold"), border_style=style))

    def detail(self, text: str) -> None:
        """Show a message only with `--verbose`."""
        if self.verbose:
            self._tell(text, _QUIET_STYLE)

    def warn(self, text: str) -> None:
        """Show a warning, even with `--quiet`."""
        self._tell(_labelled(tr("Warning:"), text), _WARNING_STYLE)

    def error(self, text: str) -> None:
        """Show an error."""
        self._tell(_labelled(tr("Error:"), text), _ERROR_STYLE)

    def error_document(self, document: object) -> None:
        """Print an error as one line of JSON on standard error."""
        sys.stderr.write(f"{json.dumps(document, ensure_ascii=False, default=str)}\n")

    def ask(self, question: str, default: str) -> str:
        """Ask on standard error; Enter selects the default. Only if `can_ask`."""
        sys.stderr.write(f"{question} [{default}]: " if default else f"{question}: ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
        if not answer:
            sys.stderr.write("\n")
            raise KeyboardInterrupt  # Ctrl-D
        return answer.strip() or default

    def confirm(self, question: str, *, default: bool = False) -> bool:
        """Ask for yes or no."""
        answer = self.ask(f"{question} (y/n)", "y" if default else "n")
        return answer.lower() in ("y", "yes")

    @contextmanager
    def working(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show progress: a spinner on a terminal, else one line for each step.

        Yields a function that sets the text of the next step.
        """
        if not self.is_animated:
            self.note(text)
            yield self.note
            return
        with _console(sys.stderr).status(text) as status:
            yield status.update

    def console(self) -> Console:
        """Return a rich console on standard error, for progress bars."""
        return _console(sys.stderr)

    def _tell(self, text: str, style: str | None) -> None:
        if style is None or not _draws(sys.stderr):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
        else:
            _console(sys.stderr).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _labelled(label: str, text: str) -> str:
    return f"{label} {text}" if label.isascii() else f"{label}{text}"  # A full-width colon contains its space.


def _draws(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, force_terminal=stream.isatty(), highlight=False, markup=False, emoji=False)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")  # A truncated ID cannot be copied.
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _columns(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [list(columns), *(list(map(_cell, row)) for row in rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    aligned = ("  ".join(map(padded, line, widths)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in aligned)


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes: Chinese characters take two (UAX #11)."""
    return sum(2 if east_asian_width(letter) in "WF" else not combining(letter) for letter in text)


def padded(text: str, columns: int) -> str:
    """Return a text padded with spaces to a width."""
    return text + " " * (columns - width(text))


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


screen: Final = Output()
"""The output of this process."""
