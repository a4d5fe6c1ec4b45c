"""Findings of `validate`: what is wrong with an agent's folder, where, and how severe it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ..messages import later, tr

_PLACE: Final = re.compile(r"(?:, line |:)(\d+)(?:, column \d+)?: (.*)", re.DOTALL)


class Severity(StrEnum):
    """An error keeps the agent from being deployed or from starting; a warning does not."""

    ERROR = later("error")
    WARNING = later("warning")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: The check that found it, such as `"schema"`.
        severity: Whether it is an error or a warning.
        file: Path inside the agent's folder.
        line: Line in it, from 1.
        message: One sentence.
    """

    check: str
    severity: Severity
    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {tr(self.severity.value)}: {self.message}"


def error(check: str, file: str, line: int, message: str) -> Finding:
    """Return a finding of severity error."""
    return Finding(check, Severity.ERROR, file, line, message)


def warning(check: str, file: str, line: int, message: str) -> Finding:
    """Return a finding of severity warning."""
    return Finding(check, Severity.WARNING, file, line, message)


def located(check: str, file: str, problem: Exception) -> Finding:
    """Return an error at the line that the message of `problem` names."""
    place = _PLACE.search(str(problem))
    return error(check, file, int(place[1]), place[2]) if place else error(check, file, 1, str(problem))
