"""What `init` writes: the files in `templates/`, with the words of one agent in the places of `{{words}}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from ppio_agent_models import MANIFEST_FILE

from ._failures import UsageError

NAME_RULE: Final = "1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end"
_PLACE: Final = re.compile(r"\{\{(\w+)\}\}")
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")


class Kind(StrEnum):
    """What a new agent is written with."""

    PLAIN = "plain"
    STREAMING = "streaming"
    LANGGRAPH = "langgraph"
    OPENAI_AGENTS = "openai-agents"
    PYDANTIC_AI = "pydantic-ai"


ABOUT: Final = {
    Kind.PLAIN: "Answers at once",
    Kind.STREAMING: "Answers word by word",
    Kind.LANGGRAPH: "Talks with a language model, by LangGraph",
    Kind.OPENAI_AGENTS: "Talks with a language model, by the OpenAI Agents SDK",
    Kind.PYDANTIC_AI: "Talks with a language model, by Pydantic AI",
}
_WITHOUT_MODEL: Final = (Kind.PLAIN, Kind.STREAMING)


@dataclass(frozen=True)
class Project:
    """A new agent.

    Raises:
        UsageError: The name or the entrypoint cannot be one; the message has the rule.
    """

    name: str
    entrypoint: str
    kind: Kind
    author: str | None = None

    def __post_init__(self) -> None:
        if "name" in self._faults():
            raise UsageError(f"{self.name!r} cannot be an agent's name: it has {NAME_RULE}.")
        if "entrypoint" in self._faults() or not self.entrypoint.endswith(".py") or "\\" in self.entrypoint:
            raise UsageError(
                f"{self.entrypoint!r} cannot be the entrypoint: it is a .py file inside the agent's folder, with '/' "
                "between folders, such as 'main.py'."
            )

    def files(self) -> dict[str, str]:
        """Return the text of every file by its path inside the agent's folder."""
        from ppio_agent_client import __version__

        words = {
            "name": self.name,
            "entrypoint": self.entrypoint,
            "description": ABOUT[self.kind],
            "author": f"author: {self.author}" if self.author else "# author: you@example.com",
            "created": datetime.now(UTC).date().isoformat(),
            "version": __version__,
            "variables": "" if self.kind in _WITHOUT_MODEL else _text("common", "variables.md"),
        }
        return {
            self.entrypoint: _filled(_text(self.kind, "main.py"), words),
            MANIFEST_FILE: _filled(_text("common", "manifest.yaml"), words),
            "requirements.txt": _filled(_text(self.kind, "requirements.txt"), words),
            "Dockerfile": _filled(_text("common", "Dockerfile"), words),
            ".dockerignore": _text("common", "dockerignore"),
            "README.md": _filled(_text("common", "README.md"), words),
        }

    def _faults(self) -> set[Any]:
        from pydantic import ValidationError

        from ppio_agent_models import AgentManifest

        try:
            AgentManifest.model_validate({"metadata": {"name": self.name}, "spec": {"entrypoint": self.entrypoint}})
        except ValidationError as error:
            return {problem["loc"][-1] for problem in error.errors()}
        return set()


def name_from(folder: Path) -> str:
    """Return a name for an agent in `folder`: that of the folder, as far as it can be one."""
    letters = _NOT_IN_A_NAME.sub("-", folder.resolve().name.lower()).strip("-")
    return letters[:63].strip("-") or "my-agent"


def _text(folder: str, name: str) -> str:
    return (files(__package__) / "templates" / folder / name).read_text(encoding="utf-8")


def _filled(text: str, words: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: words[place[1]], text)
