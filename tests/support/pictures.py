"""Pictures of a terminal for README and docs: drawn from a real run, and held to what a run shows now."""

from __future__ import annotations

import io
import os
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pyte
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from .recordings import settled

_ROWS = 60
_DIM, _GREY = 2, 90
_COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow", "brightblack": "#9a9a9a"}
"""Names of pyte that rich has others for, and a grey that can be read."""
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Fonts that rich would load from elsewhere."""
_LINES = re.compile(r"<text [^>]*>(?P<text>[^<]*)</text>")


class _Screen(pyte.Screen):
    """A terminal that shows dim text in grey."""

    def select_graphic_rendition(self, *attributes: int, **options: Any) -> None:
        dim = attributes[:1] == (_DIM,)
        super().select_graphic_rendition(*((_GREY, *attributes[1:]) if dim else attributes), **options)


def check_picture(path: Path, raw: str, title: str, *, columns: int = 80, words: dict[str, str] | None = None) -> None:
    """Hold a picture to what a run has shown, but for times; with `RECORD=1` draw it anew.

    Args:
        path: An SVG file.
        raw: What the program has written to its terminal.
        title: Of the window.
        columns: Of the terminal.
        words: What stands for somebody's own folders and ports, of the same length.
    """
    svg = _drawn(raw, title, columns, words or {})
    if os.environ.get("RECORD"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(svg, encoding="utf-8")
        return
    assert path.is_file(), f"draw it: RECORD=1 pytest {os.environ.get('PYTEST_CURRENT_TEST', '').partition(' ')[0]}"
    assert _words_of(path.read_text(encoding="utf-8")) == _words_of(svg)


def _drawn(raw: str, title: str, columns: int, words: dict[str, str]) -> str:
    for word, stand_in in words.items():
        raw = raw.replace(word, stand_in)
    screen = _Screen(columns, _ROWS)
    pyte.Stream(screen).feed(raw)
    lines = [_line(screen, row, columns) for row in range(_ROWS)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    console = Console(width=columns, record=True, file=io.StringIO(), force_terminal=True)
    console.print(Text("\n").join(lines), soft_wrap=True)
    svg = console.export_svg(title=title, theme=MONOKAI, unique_id="terminal")
    return _FONTS.sub("", svg).replace("Fira Code", "ui-monospace, Menlo, Consolas")


def _line(screen: pyte.Screen, row: int, columns: int) -> Text:
    text = Text()
    chars = [screen.buffer[row][column] for column in range(columns)]
    for style, run in groupby(chars, key=_style):
        text.append("".join(char.data for char in run), style)
    text.rstrip()
    return text


def _style(char: Any) -> str:
    name = _COLOURS.get(char.fg, char.fg)
    colour = "" if name == "default" else re.sub("^bright(?!_)", "bright_", name)
    return f"{'bold ' if char.bold else ''}{colour}".strip()


def _words_of(svg: str) -> str:
    lines = [line.replace("&#160;", " ") for line in _LINES.findall(svg)]
    return settled("\n".join(line for line in lines if line.strip(" ~^")))  # Pythons mark places differently
