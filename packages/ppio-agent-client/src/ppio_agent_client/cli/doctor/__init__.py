"""The result of one check of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Check:
    """One check and its result.

    Attributes:
        topic: The group that it is shown in.
        name: What was checked.
        state: The outcome; only an error fails the command.
        value: What was found, as text.
        hint: How to fix it.
    """

    topic: str
    name: str
    state: State
    value: str
    hint: str | None = None
