"""`.dockerignore`, read as Docker reads it.

Patterns stand for paths below the folder, the last one that fits decides, `!` takes back, `**` is any number of
folders, and what is below a path that is left out is left out too.
https://docs.docker.com/build/concepts/context/#dockerignore-files
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

IGNORE_FILE: Final = ".dockerignore"

DEFAULT_PATTERNS: Final = (
    "**/.git", "**/.hg", "**/.svn", "**/__pycache__", "**/.venv", "**/venv", "**/node_modules", "**/.tox", "**/.nox",
    "**/.mypy_cache", "**/.ruff_cache", "**/.pytest_cache", "**/.ipynb_checkpoints", "**/.DS_Store", "**/.env",
    "**/.env.*",
)  # fmt: skip
"""What is left out of a folder that has no `.dockerignore`: history, environments, caches, secrets."""


class _Rule(NamedTuple):
    pattern: str
    expression: re.Pattern[str]
    takes_back: bool


class IgnoreRules:
    """Which paths are left out.

    Args:
        lines: The lines of a `.dockerignore`.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for line in lines if (rule := _rule(line)) is not None]

    def leaves_out(self, path: str) -> bool:
        """Return whether a path, written with slashes and relative to the folder, is left out."""
        ways = _with_parents(path)
        left_out = False
        for rule in self._rules:
            if rule.takes_back == left_out and any(rule.expression.fullmatch(way) for way in ways):
                left_out = not rule.takes_back
        return left_out

    def leaves_out_all_of(self, folder: str) -> bool:
        """Return whether nothing below a folder can be meant, so that it need not be looked into."""
        taken_back = (rule.pattern for rule in self._rules if rule.takes_back)
        return self.leaves_out(folder) and not any(
            f"{pattern}/".startswith(f"{folder}/") or "*" in pattern.partition("/")[0] for pattern in taken_back
        )


def _rule(line: str) -> _Rule | None:
    if line.startswith("#"):
        return None
    text = line.strip()
    takes_back = text.startswith("!")
    text = text.removeprefix("!").strip()
    if not text:
        return None
    pattern = posixpath.normpath(text).lstrip("/")
    if pattern in {"", "."}:
        return None
    return _Rule(pattern, re.compile(_expression(pattern), re.DOTALL), takes_back)


def _expression(pattern: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        at += 1
        if pattern.startswith("**", at - 1):
            at += 1
            if at < len(pattern) and pattern[at] == "/":
                at += 1
            parts.append("(?:.*/)?" if at < len(pattern) else ".*")
        elif sign == "*":
            parts.append("[^/]*")
        elif sign == "?":
            parts.append("[^/]")
        elif sign == "[" and (end := pattern.find("]", at + 1)) > 0:
            inside = pattern[at:end]
            negated = inside.startswith("^")
            parts.append(f"[{'^' if negated else ''}{_class(inside.removeprefix('^'))}]")
            at = end + 1
        elif sign == "\\" and at < len(pattern):
            parts.append(re.escape(pattern[at]))
            at += 1
        else:
            parts.append(re.escape(sign))
    return "".join(parts)


def _class(text: str) -> str:
    return re.sub(r"([\[\]^\\&~|])", r"\\\1", text)


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
