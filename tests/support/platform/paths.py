"""Where a sandbox's own paths are on this machine."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final

HOME: Final = "/home/user"

_SUDO: Final = re.compile(r"\bsudo(?: -\S+)* ")
_OWN: Final = re.compile(r"""(?<![\w./~-])(/app|/home/user)(?=$|[/\s"';:&|<>)])""")


def on_this_machine(root: Path, path: str) -> Path:
    """Return where a path of the sandbox is; relative ones start at the user's home.

    Raises:
        ValueError: It leads out of the sandbox.
    """
    inside = PurePosixPath(HOME, path or ".").relative_to("/")
    if ".." in inside.parts:
        raise ValueError(f"the path {path!r} leads out of the sandbox")
    return root / inside


def inside(root: Path, path: Path) -> str:
    """Return what the sandbox calls a path."""
    return "/" + path.relative_to(root).as_posix().removeprefix(".")


def command(root: Path, line: str) -> str:
    """Return a command as this machine runs it: the sandbox's folders are elsewhere, and everybody is root already."""
    return _OWN.sub(lambda match: f"{root}{match[1]}", _SUDO.sub("", line))
