"""`spec.entrypoint` of a manifest: its rule, and how to read it without the models, for a fast start of an agent."""

from __future__ import annotations

import re

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?")


def is_entrypoint(value: str) -> bool:
    """Say whether `value` is a Python file inside the agent's folder, or `module:app`."""
    if value.endswith(".py"):
        return not value.startswith("/") and ".." not in value.split("/")
    return _MODULE.fullmatch(value) is not None


def written_entrypoint(text: str, *, source: str) -> str | None:
    """Return the entrypoint that a manifest names; None where it has none that is right.

    What else the manifest says is for those who deploy the agent, and is not looked at.

    Args:
        text: The file's content.
        source: What to call the file in an error.

    Raises:
        ConfigurationError: It is not readable.
    """
    from ._yaml import read_yaml  # With it comes PyYAML, which an agent that is started by its file does without.

    manifest, _ = read_yaml(text, source=source)
    spec = manifest.get("spec") if isinstance(manifest, dict) else None
    entrypoint = spec.get("entrypoint") if isinstance(spec, dict) else None
    return entrypoint if isinstance(entrypoint, str) and is_entrypoint(entrypoint) else None
