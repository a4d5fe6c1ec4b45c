"""`ppio-agent init`: creates an agent that runs, in its own folder.

Its files are those in `_templates/`, with each `{{placeholder}}` filled in.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ppio_agent_models import MANIFEST_FILE

from ..errors import CommandError, UsageError
from ..messages import language, later, tr
from ..options import Force, NoInput
from ..output import screen
from ..project import is_from_checkout

NAME_RULE: Final = later("1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end")
_PLACE: Final = re.compile(r"\{\{(\w+)\}\}")
_ADDRESS: Final = re.compile(r"[\w.+-]+@[\w.-]+")
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")
app: typer.Typer = typer.Typer(add_completion=False)
_ENTRYPOINT: Final = "main.py"


class Kind(StrEnum):
    """Templates of a new agent."""

    PLAIN = "plain"
    STREAMING = "streaming"
    LANGGRAPH = "langgraph"
    OPENAI_AGENTS = "openai-agents"
    PYDANTIC_AI = "pydantic-ai"
    STRANDS = "strands"
    ADK = "adk"


ABOUT: Final = {
    Kind.PLAIN: later("Answers at once"),
    Kind.STREAMING: later("Answers word by word"),
    Kind.LANGGRAPH: later("Talks to a language model, with LangGraph"),
    Kind.OPENAI_AGENTS: later("Talks to a language model, with the OpenAI Agents SDK"),
    Kind.PYDANTIC_AI: later("Talks to a language model, with Pydantic AI"),
    Kind.STRANDS: later("Talks to a language model, with Strands"),
    Kind.ADK: later("Talks to a language model, with Google ADK"),
}
_WITHOUT_MODEL: Final = (Kind.PLAIN, Kind.STREAMING)


@dataclass(frozen=True)
class Project:
    """A new agent.

    Raises:
        UsageError: The name or the entrypoint is invalid; the message has the rule.
    """

    name: str
    entrypoint: str
    kind: Kind
    author: str | None = None

    def __post_init__(self) -> None:
        if "name" in self._faults():
            raise UsageError(
                tr("{name!r} is not a valid name of an agent, which has {rule}.", name=self.name, rule=tr(NAME_RULE))
            )
        if "entrypoint" in self._faults() or not self.entrypoint.endswith(".py") or "\\" in self.entrypoint:
            raise UsageError(
                tr(
                    "{entrypoint!r} cannot be the entrypoint: it is a .py file inside the agent's folder, "
                    "with '/' between folders, such as 'main.py'.",
                    entrypoint=self.entrypoint,
                )
            )

    def files(self) -> dict[str, str]:
        """Return the text of every file by its path inside the agent's folder."""
        from ppio_agent_client import __version__

        words = {
            "name": self.name,
            "entrypoint": self.entrypoint,
            "description": tr(ABOUT[self.kind]),
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
    """Return a name for an agent in `folder`, derived from the folder's name."""
    letters = _NOT_IN_A_NAME.sub("-", folder.resolve().name.lower()).strip("-")
    return letters[:63].strip("-") or "my-agent"


def _text(folder: str, name: str) -> str:
    """Return a file of the templates, in the user's language if it is available."""
    templates = files("ppio_agent_client.cli") / "_templates" / folder
    stem, _, suffix = name.rpartition(".")
    translated = templates / f"{stem}.{language()}.{suffix}"
    return (translated if translated.is_file() else templates / name).read_text(encoding="utf-8")


def _filled(text: str, words: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: words[place[1]], text)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to write it to.", show_default="this folder")] = Path(),
    name: Annotated[str | None, typer.Option("--name", "-n", help="The agent's name.")] = None,
    entrypoint: Annotated[
        str | None, typer.Option("--entrypoint", "-e", help="The agent's program.", show_default=_ENTRYPOINT)
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option("--template", "-t", metavar="KIND", help=f"{', '.join(Kind)}.", show_default=Kind.PLAIN),
    ] = None,
    author: Annotated[
        str | None, typer.Option("--author", "-a", help="Your e-mail address.", show_default="git's user.email")
    ] = None,
    no_input: NoInput = False,
    force: Force = False,
) -> None:
    """Create a new agent: program, manifest, Dockerfile.

    Asks for the name and the template unless they are given. Existing files are not changed without --force.
    """
    if (folder / MANIFEST_FILE).exists() and not force:
        raise UsageError(
            tr("{path} exists.", path=folder / MANIFEST_FILE), hint=tr("To overwrite all files, add --force.")
        )
    asks = screen.can_ask and not no_input
    project = Project(
        name=name or (_asked_name(folder) if asks else name_from(folder)),
        entrypoint=entrypoint or _ENTRYPOINT,
        kind=kind or (_asked_kind() if asks else Kind.PLAIN),
        author=author or _git_address(),
    )
    written, kept = _write(folder, project.files(), force=force)
    _tell(project, folder, written, kept)


def _asked_name(folder: Path) -> str:
    while True:
        name = screen.ask(tr("Name of the agent"), name_from(folder))
        try:
            Project(name, _ENTRYPOINT, Kind.PLAIN)
        except UsageError as error:
            screen.error(error.message)
        else:
            return name


def _asked_kind() -> Kind:
    kinds = list(Kind)
    screen.note(tr("Templates:"))
    for number, kind in enumerate(kinds, 1):
        screen.note(f"  {number}  {kind:<14} {tr(ABOUT[kind])}")
    while True:
        answer = screen.ask(tr("Template"), Kind.PLAIN)
        if answer in kinds:
            return Kind(answer)
        if answer.isdecimal() and 1 <= int(answer) <= len(kinds):
            return kinds[int(answer) - 1]
        screen.error(tr("{answer!r} is not a template; type its number or its name.", answer=answer))


def _git_address() -> str | None:
    """Return the e-mail address that is set in git, if any."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        told = subprocess.run([git, "config", "user.email"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    address = told.stdout.decode("utf-8", "replace").strip()
    return address if _ADDRESS.fullmatch(address) else None


def _write(folder: Path, files: dict[str, str], *, force: bool) -> tuple[list[str], list[str]]:
    """Write the files that don't exist; return which files were written, and which existed and were kept."""
    written, kept = [], []
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
                    file.write(text)
                written.append(name)
            except FileExistsError:
                kept.append(name)
    except OSError as error:
        raise CommandError(
            tr(
                "{path} cannot be written: {reason}.",
                path=error.filename or folder,
                reason=error.strerror or error,
            )
        ) from error
    return written, kept


def _tell(project: Project, folder: Path, written: list[str], kept: list[str]) -> None:
    steps = [] if folder.resolve() == Path.cwd() else [f"cd {folder}"]
    steps += ["pip install -r requirements.txt", "ppio-agent dev"]
    document: dict[str, Any] = {"name": project.name, "folder": str(folder.resolve()), "template": project.kind}
    document |= {"entrypoint": project.entrypoint, "written": written, "kept": kept, "next": steps}
    about = tr(ABOUT[project.kind])
    lines = [tr("Created the agent {name} ({about}):", name=project.name, about=f"{about[0].lower()}{about[1:]}")]
    lines += [f"  {name}" for name in written]
    lines += [tr("  {file} exists and was not changed", file=name) for name in kept]
    screen.result(document, "\n".join(lines))
    if "requirements.txt" in kept:
        screen.warn(tr("requirements.txt exists already: it must list ppio-agent-runtime."))
    if is_from_checkout():
        screen.note(
            tr(
                "This version of the SDK was not installed from a package index, and may not be on one.\n"
                "`ppio-agent doctor` checks that; README.md describes how to use wheels from a folder."
            )
        )
    screen.note(tr("Next:") + "".join(f"\n  {step}" for step in steps))
