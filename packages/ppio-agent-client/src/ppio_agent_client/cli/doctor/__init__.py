"""What a look at one thing came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.util import find_spec
from typing import Any


class State(StrEnum):
    """What a check came to."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        topic: What it belongs to.
        name: What was looked at.
        state: What that came to; only an error fails the command.
        value: What was found, for people.
        hint: What to do about it.
    """

    topic: str
    name: str
    state: State
    value: str
    hint: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def is_there(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def count(number: int, what: str) -> str:
    """Return `1 template` or `2 templates`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
