"""The agent that is deployed: its manifest as a file, what is sent of it, and the status that is written back."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError

from .._manifest_file import lines_of, manifest_path, read_manifest, read_text
from .._output import screen

if TYPE_CHECKING:
    from ppio_agent_models import AgentManifest

_NEVER_WRAP: Final = 2**30
"""Columns: the runtime's own reader knows no values over several lines."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent's folder with its manifest."""

    file: Path
    manifest: AgentManifest

    @property
    def folder(self) -> Path:
        """The folder that is deployed."""
        return self.file.parent

    @property
    def name(self) -> str:
        """What it is called, and its template too."""
        return self.manifest.metadata.name

    @property
    def status(self) -> dict[str, Any]:
        """What the last deployment came to."""
        return self.manifest.status or {}


def read_agent(config: Path) -> Agent:
    """Return the agent of a manifest, or of a folder with one.

    Raises:
        UsageError: There is none.
        ConfigurationError: The manifest is wrong, or names a program that is not there.
    """
    file = manifest_path(config)
    agent = Agent(file, read_manifest(file))
    entrypoint = agent.manifest.spec.entrypoint
    if entrypoint.endswith(".py") and not (agent.folder / entrypoint).is_file():
        raise ConfigurationError(f"{file} names the entrypoint {entrypoint!r}, which is not there")
    return agent


def without_status(text: str) -> str:
    """Return a manifest as people wrote it: the status would make each deployment different from the one before."""
    if text.lstrip().startswith("{"):
        document = json.loads(text)
        document.pop("status", None)
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    places = lines_of(text)
    begin = places.get(("status",))
    if begin is None:
        return text
    later = [line for path, line in places.items() if len(path) == 1 and line > begin]
    lines = text.splitlines(keepends=True)
    return "".join([*lines[: begin - 1], *(lines[min(later) - 1 :] if later else [])])


def sent_manifest(agent: Agent) -> str:
    """Return the manifest as it is sent."""
    return without_status(read_text(agent.file))


def write_status(agent: Agent, status: Mapping[str, object]) -> None:
    """Set fields of the status and leave everything else as it is written; a file that cannot be written is told.

    Args:
        agent: Whose manifest.
        status: Field names to values; None takes a field away.
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _NEVER_WRAP
    yaml.allow_unicode = True
    document = yaml.load(read_text(agent.file))
    known = {**(document.get("status") or {}), **status}
    document["status"] = {name: value for name, value in known.items() if value is not None}
    text = io.StringIO()
    yaml.dump(document, text)
    file = Path(os.path.realpath(agent.file))
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    line_end = "\r\n" if b"\r\n" in file.read_bytes() else "\n"
    try:
        draft.write_text(text.getvalue(), encoding="utf-8", newline=line_end)
        draft.chmod(file.stat().st_mode & 0o777)
        draft.replace(file)
    except OSError as error:
        screen.warn(f"the status could not be written into {agent.file}: {error.strerror or error}.")
    finally:
        draft.unlink(missing_ok=True)
