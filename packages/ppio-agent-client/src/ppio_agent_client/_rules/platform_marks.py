"""What this SDK writes into the metadata of its sandboxes, so that any process with the same key finds them again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ppio_agent_models import DEFAULT_SANDBOX_SECONDS, ConfigurationError

from .. import __version__
from .._sandbox import SandboxSpec

PREFIX: Final = "ppio_agent_"
"""Begin of the names that belong to this SDK."""
MARKER: Final = "ppio_agent_client"
"""Sandboxes with this name and the value `MARKER_VALUE` are ours."""
MARKER_VALUE: Final = "1"
SESSION: Final = "ppio_agent_session"
CREATE: Final = "ppio_agent_create"
"""One value per call of `create`: the sandbox of a lost answer is found by it."""
_TEMPLATE = "ppio_agent_template"
_LIFE = "ppio_agent_life_seconds"
_PRIVATE = "ppio_agent_private"
_WAKES = "ppio_agent_wakes"
_CREATED_BY = "created_by"
_AUTO_RESUME = "auto_resume"

_PLAIN = re.compile(r"[A-Za-z0-9.-]")


@dataclass(frozen=True, slots=True)
class Marks:
    """What the metadata of a sandbox says.

    Attributes:
        session_id: The session it belongs to.
        template: The template as its creator called it.
        life_seconds: How long it was made for.
        is_private: Whether its addresses want a traffic token.
        wakes: Whether a request wakes it when it sleeps.
        create_id: The call of `create` that made it.
        metadata: The strings of its creator, without ours.
    """

    session_id: str
    template: str
    life_seconds: float
    is_private: bool
    wakes: bool
    create_id: str
    metadata: dict[str, str]


def written(spec: SandboxSpec, template: str, create_id: str, *, is_legacy: bool) -> dict[str, str]:
    """Return the metadata of a new sandbox.

    Raises:
        ConfigurationError: A name of the caller's is one of ours.
    """
    taken = sorted(name for name in spec.metadata if name.startswith(PREFIX))
    if taken:
        raise ConfigurationError(f"metadata names that begin with {PREFIX!r} belong to this SDK; rename {taken[0]!r}")
    marks = {
        _CREATED_BY: f"ppio-agent-client/{__version__}",
        **spec.metadata,
        MARKER: MARKER_VALUE,
        SESSION: plain(spec.session_id),
        CREATE: create_id,
        _TEMPLATE: plain(template),
        _LIFE: f"{spec.timeout_seconds:g}",
    }
    if spec.private_traffic:
        marks[_PRIVATE] = "1"
    if spec.auto_resume:
        marks[_WAKES] = "1"
    if spec.auto_resume and is_legacy:
        marks[_AUTO_RESUME] = "true"  # where the older dialect has it
    return marks


def read(metadata: object) -> Marks | None:
    """Return what the metadata of a sandbox says; None when the sandbox is not one of this SDK."""
    if not isinstance(metadata, dict) or metadata.get(MARKER) != MARKER_VALUE or SESSION not in metadata:
        return None
    said = {name: value for name, value in metadata.items() if isinstance(name, str) and isinstance(value, str)}
    return Marks(
        session_id=original(said.get(SESSION, "")),
        template=original(said.get(_TEMPLATE, "")),
        life_seconds=_seconds(said),
        is_private=said.get(_PRIVATE) == "1",
        wakes=said.get(_WAKES) == "1",
        create_id=said.get(CREATE, ""),
        metadata={name: value for name, value in said.items() if not _is_ours(name, value)},
    )


def plain(text: str) -> str:
    """Return any text in letters, digits, `.`, `-` and `_`, which no filter or query reads as anything else."""
    return "".join(each if _PLAIN.fullmatch(each) else _escaped(each) for each in text)


def original(text: str) -> str:
    """Return the text that `plain` was given."""
    head, *rest = text.split("_")
    try:
        parts = [bytes.fromhex(part[:2]) + part[2:].encode("ascii") for part in rest]
        return (head.encode("ascii") + b"".join(parts)).decode("utf-8", "surrogatepass")
    except ValueError:
        return text  # somebody else wrote it


def _escaped(character: str) -> str:
    return "".join(f"_{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def _seconds(said: Mapping[str, str]) -> float:
    try:
        seconds = float(said[_LIFE])
    except (KeyError, ValueError):
        return float(DEFAULT_SANDBOX_SECONDS)
    return seconds if 0 < seconds < float("inf") else float(DEFAULT_SANDBOX_SECONDS)


def _is_ours(name: str, value: str) -> bool:
    return name.startswith(PREFIX) or (name == _CREATED_BY and value.startswith("ppio-agent-client/"))
