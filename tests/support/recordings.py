"""Recordings of a terminal in a page: compared with what a run shows now, or written anew with `RECORD=1`."""

from __future__ import annotations

import os
import re
from pathlib import Path

_BLOCK = "<!-- recording: {name} -->\n```text\n"
_END = "\n```\n"
_CHANGING = {
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}": "2026-01-01 12:00:00,000",
    r"\b\d\d:\d\d:\d\d (?=[A-Z])": "12:00:00 ",
    r"\b(\d+ ms|\d+\.\d\d s)\b": "12 ms",
    r"\d+\.\d\d 秒": "12 ms",
    r"\b\d+\.\d+\.\d+, \w+ \w+": "3.13.0, Linux x86_64",
    r"\d+\.\d MB": "0.1 MB",
    r"\b[0-9a-f]{32}\b": "0123456789abcdef0123456789abcdef",
}
"""What differs between two runs, and what stands for it when they are compared."""


def check(page: Path, name: str, shown: str) -> None:
    """Hold a recording to what a run shows; with `RECORD=1` make it what the run shows."""
    text = page.read_text(encoding="utf-8")
    head, begin, rest = text.partition(_BLOCK.format(name=name))
    assert begin, f"{page.name} has no recording {name!r}"
    recorded, end, tail = rest.partition(_END)
    if os.environ.get("RECORD"):
        page.write_text(f"{head}{begin}{shown.strip()}{end}{tail}", encoding="utf-8")
        return
    assert settled(recorded) == settled(shown)


def settled(text: str) -> str:
    """Return a text without what differs between two runs."""
    for pattern, stand_in in _CHANGING.items():
        text = re.sub(pattern, stand_in, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
