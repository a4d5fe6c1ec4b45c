"""`requirements.txt`: can pip read every line. Nothing is looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .findings import Finding, error, warning

REQUIREMENTS_FILE: Final = "requirements.txt"
_RUNTIME: Final = "ppio-agent-runtime"
_COMMENT: Final = re.compile(r"(^|\s)#.*$")
_OPTIONS: Final = re.compile(r"\s+--(hash|config-settings?|global-option)\b.*$")
_OTHER_FILE: Final = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s+|=)?(?P<file>\S+)$")
_PLACE: Final = re.compile(r"(\.{1,2}[/\\]|[/\\]|[a-z+]+://|.*\.whl$|.*\.tar\.gz$)", re.IGNORECASE)


def check_requirements(folder: Path) -> Iterator[Finding]:
    """Yield the lines that pip would refuse, in the file and in those that it names."""
    path = folder / REQUIREMENTS_FILE
    if not path.is_file():
        yield warning("requirements", REQUIREMENTS_FILE, 1, f"there is no {REQUIREMENTS_FILE}; it must name {_RUNTIME}")
        return
    names: set[str] = set()
    yield from _read(folder, REQUIREMENTS_FILE, names, {path.resolve()})
    if _RUNTIME not in names:
        yield warning("requirements", REQUIREMENTS_FILE, 1, f"{_RUNTIME} is not in it, and the agent starts with that")


def _read(folder: Path, file: str, names: set[str], seen: set[Path]) -> Iterator[Finding]:
    try:
        text = (folder / file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        yield error("requirements", file, 1, f"it cannot be read: {problem}")
        return
    for number, line in _lines(text):
        other = _OTHER_FILE.match(line)
        if other is None:
            yield from _line(file, number, line, names)
            continue
        path = (folder / file).parent / other["file"]
        if not path.is_file():
            yield error("requirements", file, number, f"there is no file {other['file']!r}")
        elif path.resolve() not in seen:
            seen.add(path.resolve())
            yield from _read(folder, Path(file).parent.joinpath(other["file"]).as_posix(), names, seen)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield what pip takes as one line, with the number of its first: a backslash at the end joins two."""
    begun, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        start = start if begun else number
        if raw.endswith("\\"):
            begun += f"{raw[:-1]} "
            continue
        line, begun = _COMMENT.sub("", begun + raw).strip(), ""
        if line:
            yield start, line
    if begun.strip():
        yield start, begun.strip()


def _line(file: str, number: int, line: str, names: set[str]) -> Iterator[Finding]:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    if line.startswith("-") or _PLACE.match(line):
        if line.startswith(("-e", "--editable")) or re.match(r"\.{0,2}[/\\]", line):
            yield warning(
                "requirements", file, number, f"{line!r} is a place on this machine; is it in the template too?"
            )
        return
    try:
        names.add(canonicalize_name(Requirement(_OPTIONS.sub("", line)).name))
    except InvalidRequirement as problem:
        reason = str(problem).splitlines()[0]
        yield error("requirements", file, number, f"pip cannot read {line[:60]!r}: {reason}")
