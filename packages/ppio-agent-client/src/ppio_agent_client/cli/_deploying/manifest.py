"""The agent that is deployed: its manifest as a file, what is sent of it, and the status that is written back."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError, ManifestDocument

from .._manifest_file import manifest_path, read_manifest, read_text
from .._output import screen

if TYPE_CHECKING:
    from ppio_agent_models import AgentManifest

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WORDS: Final = {"false", "n", "no", "null", "off", "on", "true", "y", "yes"}
"""What readers of YAML 1.1 make something else of."""


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
    return _with_status(text, {})


def sent_manifest(agent: Agent) -> str:
    """Return the manifest as it is sent."""
    return without_status(read_text(agent.file))


def write_status(agent: Agent, status: Mapping[str, object]) -> None:
    """Set fields of the status and leave everything else as it is written; a file that cannot be written is told.

    Args:
        agent: Whose manifest.
        status: Field names to values; None takes a field away.
    """
    text = read_text(agent.file)
    known = {**(ManifestDocument.parse(text).value.get("status") or {}), **status}
    text = _with_status(text, {name: value for name, value in known.items() if value is not None})
    file = Path(os.path.realpath(agent.file))
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    line_end = "\r\n" if b"\r\n" in file.read_bytes() else "\n"
    try:
        draft.write_text(text, encoding="utf-8", newline=line_end)
        draft.chmod(file.stat().st_mode & 0o777)
        draft.replace(file)
    except OSError as error:
        screen.warn(f"the status could not be written into {agent.file}: {error.strerror or error}.")
    finally:
        draft.unlink(missing_ok=True)


def _with_status(text: str, status: Mapping[str, object]) -> str:
    """Return a manifest with this status in the place of its own, and everything else as it is written."""
    document = ManifestDocument.parse(text)
    if text.lstrip().startswith("{"):
        return _json_with_status(text, document, status)
    lines = text.splitlines(keepends=True)
    begin = end = len(lines)
    if "status" in document.value:
        begin = document.line_of(["status"]) - 1
        end = min((line - 1 for key in document.value if (line := document.line_of([key])) - 1 > begin), default=end)
        while end - 1 > begin and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
            end -= 1  # what stands between it and the next field stays
    elif lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    block = [f"  {name}: {_scalar(value)}\n" for name, value in status.items()]
    return "".join([*lines[:begin], *(["status:\n", *block] if block else []), *lines[end:]])


def _json_with_status(text: str, document: ManifestDocument, status: Mapping[str, object]) -> str:
    try:
        fields = json.loads(text)
    except ValueError:  # YAML in curly brackets: its values are text then
        fields = document.value
    fields = {name: value for name, value in fields.items() if name != "status"}
    return json.dumps(fields | ({"status": dict(status)} if status else {}), indent=2, ensure_ascii=False) + "\n"


def _scalar(value: object) -> str:
    """Return a value as every reader of YAML reads it; JSON is YAML."""
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
