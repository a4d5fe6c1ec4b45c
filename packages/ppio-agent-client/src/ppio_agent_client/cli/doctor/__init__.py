"""What a look at one thing came to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
