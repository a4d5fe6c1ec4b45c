"""Help and errors of Typer in the user's language: Typer translates only some of them with gettext."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from .messages import later, tr

FIXED_WORDS: Final = (
    later("Arguments"),
    later("Options"),
    later("Commands"),
    later("[default: {}]"),
    later("[env var: {}]"),
    later("[required]"),
)
"""Messages that Typer translates with gettext itself."""
_ERRORS: Final = (
    later("Missing option {name}."),
    later("Missing argument {name}."),
    later("No such option: {name} (Possible options: {others})"),
    later("No such option: {name}"),
    later("No such command {name}. Did you mean {others}?"),
    later("No such command {name}."),
    later("Got unexpected extra argument(s) ({arguments})"),
    later("Option {name} requires an argument."),
    later("Option {name} does not take a value."),
    later("Invalid value for {name}: {reason}"),
)
"""Typer's messages about invalid arguments; the first match is used."""
_WIDE: Final = r"\u2e80-\u9fff\uff00-\uffef"
_WORD: Final = re.compile(rf"\s*[（“《]*(?:[^\s{_WIDE}]+|\S)[，。；：、）！？”》…]*\s*")
"""Text that is never broken across lines: a word, or a Chinese character, with its punctuation (UAX #14)."""


def translate(command: Any, say: Callable[[str], str] = tr) -> None:
    """Translate the texts of a command's help into the user's language.

    Args:
        command: A command built by Typer, with its subcommands imported.
        say: Returns the translation of a message.
    """
    paragraphs = [" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n")]
    command.help = "\n\n".join(map(say, filter(None, paragraphs)))
    for parameter in command.params:
        parameter.help = say(parameter.help) if parameter.help else None
        if isinstance(parameter.show_default, str) and " " in parameter.show_default:
            parameter.show_default = say(parameter.show_default)
        if parameter.rich_help_panel:
            parameter.rich_help_panel = say(parameter.rich_help_panel)
    command.format_help = _with_line_breaks(command.format_help)
    command.get_usage = _with_first_word(command.get_usage, say(later("Usage: ")))
    command.get_help_option = _plain_help_option(command.get_help_option, say(later("Show this message and exit.")))


def translated_error(message: str) -> str:
    """Return an error of Typer in the user's language; an unknown one unchanged."""
    for known in _ERRORS:
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(known))
        if found := re.fullmatch(pattern, message, re.DOTALL):
            return tr(known, **found.groupdict())
    return message


def _with_line_breaks(show: Callable[..., None]) -> Callable[..., None]:
    """Break lines of Chinese, too: Rich breaks only at spaces, and counts characters at a line's end."""

    def shown(*arguments: Any) -> None:
        from rich import _wrap  # There is no public API for it.
        from rich.text import Text

        _wrap.re_word = _WORD
        Text.rstrip_end = _rstrip_end  # type: ignore[assignment, method-assign]
        show(*arguments)

    return shown


def _rstrip_end(text: Any, size: int) -> None:
    """Remove trailing spaces beyond `size` columns."""
    spaces = len(text.plain) - len(text.plain.rstrip())
    excess = min(spaces, text.cell_len - size)
    if excess > 0:
        text.right_crop(excess)


def _with_first_word(usage: Callable[[Any], str], word: str) -> Callable[[Any], str]:
    return lambda context: usage(context).replace("Usage: ", word, 1)


def _plain_help_option(option_of: Callable[[Any], Any], text: str) -> Callable[[Any], Any]:
    def plain(context: Any) -> Any:
        option = option_of(context)
        option.metavar = ""  # Else the help would show `<bool>`.
        option.help = text
        return option

    return plain
