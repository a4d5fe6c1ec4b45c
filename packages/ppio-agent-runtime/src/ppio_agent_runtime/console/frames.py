"""The stack frames of a failure that are the agent's own code, without those of libraries: file, line, source."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from typing import Any, Final

from ..text import cut

MAX_FRAMES: Final = 10
"""How many frames are kept; the innermost ones."""
_MAX_CHARS: Final = 300
_PACKAGE: Final = str(Path(__file__).parents[1])
_STANDARD_LIBRARY: Final = sysconfig.get_path("stdlib")
_INSTALLED: Final = {"site-packages", "dist-packages"}


def frames_of(failure: BaseException) -> list[dict[str, Any]]:
    """Return the agent's own frames of a failure, outermost first; if there are none, those of its cause."""
    cause = failure.__cause__
    return _frames_of(failure) or ([] if cause is None else _frames_of(cause))


def _frames_of(failure: BaseException) -> list[dict[str, Any]]:
    found = [frame for frame in traceback.extract_tb(failure.__traceback__) if _is_theirs(frame.filename)]
    return [
        {
            "file": _from_here(frame.filename),
            "line": frame.lineno,
            "function": frame.name,
            "source": cut(frame.line or "", _MAX_CHARS),
        }
        for frame in found[-MAX_FRAMES:]
    ]


def _is_theirs(file: str) -> bool:
    path = Path(file)
    if not path.is_absolute() or path.is_relative_to(_PACKAGE) or _INSTALLED & set(path.parts):
        return False
    return not path.is_relative_to(_STANDARD_LIBRARY)


def _from_here(file: str) -> str:
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
