"""The labels in the metadata of sandboxes, by which any process with the same key finds them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ppio_agent_models import DEFAULT_SANDBOX_SECONDS, ConfigurationError

from ..._sandbox import SandboxSpec
from ..._version import __version__

OURS: Final = {"ppio_agent_client": "1"}
"""The label that every sandbox of this SDK has."""
CREATE: Final = "ppio_agent_create"
"""A unique value for each `create`, to find the sandbox of a lost response."""
_PREFIX: Final = "ppio_agent_"
_SESSION: Final = "ppio_agent_session"
_TEMPLATE: Final = "ppio_agent_template"
_LIFE: Final = "ppio_agent_life_seconds"
_PRIVATE: Final = "ppio_agent_private"
_WAKES: Final = "ppio_agent_wakes"
_CREATED_BY: Final = "created_by"


@dataclass(frozen=True, slots=True)
class Labels:
    """The decoded metadata of a sandbox.

    Attributes:
        template: The template's name as passed to `create`.
        life_seconds: Its original time to live.
        is_private: Whether its addresses require a traffic token.
        wakes: Whether a request resumes it if it is paused.
        metadata: The caller's metadata, without our labels.
    """

    session_id: str
    template: str
    life_seconds: float
    is_private: bool
    wakes: bool
    create_id: str
    metadata: dict[str, str]


def labels_for(spec: SandboxSpec, create_id: str, *, is_legacy: bool) -> dict[str, str]:
    """Return the metadata of a new sandbox.

    Raises:
        ConfigurationError: The caller uses a reserved name.
    """
    taken = sorted(name for name in spec.metadata if name.startswith(_PREFIX))
    if taken:
        raise ConfigurationError(f"metadata names that begin with {_PREFIX!r} belong to this SDK; rename {taken[0]!r}")
    labels = {
        _CREATED_BY: f"ppio-agent-client/{__version__}",
        **spec.metadata,
        **OURS,
        **session_label(spec.session_id),
        CREATE: create_id,
        _TEMPLATE: escape(spec.template_id),
        _LIFE: f"{spec.timeout_seconds:g}",
    }
    if spec.private_traffic:
        labels[_PRIVATE] = "1"
    if spec.auto_resume:
        labels[_WAKES] = "1"
    if spec.auto_resume and is_legacy:
        labels["auto_resume"] = "true"  # the older API reads it here
    return labels


def session_label(session_id: str) -> dict[str, str]:
    """Return the label of a session's sandbox."""
    return {_SESSION: escape(session_id)}


def read_labels(metadata: object) -> Labels | None:
    """Return the labels in a sandbox's metadata; None if this SDK did not create it."""
    if not isinstance(metadata, dict) or not OURS.items() <= metadata.items() or _SESSION not in metadata:
        return None
    texts = {name: value for name, value in metadata.items() if isinstance(name, str) and isinstance(value, str)}
    return Labels(
        session_id=unescape(texts.get(_SESSION, "")),
        template=unescape(texts.get(_TEMPLATE, "")),
        life_seconds=_seconds(texts.get(_LIFE, "")),
        is_private=texts.get(_PRIVATE) == "1",
        wakes=texts.get(_WAKES) == "1",
        create_id=texts.get(CREATE, ""),
        metadata={name: value for name, value in texts.items() if not _is_ours(name, value)},
    )


def escape(text: str) -> str:
    """Encode a text as letters, digits, `.`, `-` and `_`, which are safe in filters and queries."""
    return re.sub(r"[^A-Za-z0-9.-]", lambda match: _escaped(match[0]), text)


def unescape(text: str) -> str:
    """Decode a text that `escape` encoded."""
    head, *rest = text.split("_")
    try:
        parts = [bytes.fromhex(part[:2]) + part[2:].encode("ascii") for part in rest]
        return (head.encode("ascii") + b"".join(parts)).decode("utf-8", "surrogatepass")
    except ValueError:
        return text  # not written by `escape`


def _escaped(character: str) -> str:
    return "".join(f"_{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    return seconds if 0 < seconds < float("inf") else float(DEFAULT_SANDBOX_SECONDS)


def _is_ours(name: str, value: str) -> bool:
    return name.startswith(_PREFIX) or (name == _CREATED_BY and value.startswith("ppio-agent-client/"))
