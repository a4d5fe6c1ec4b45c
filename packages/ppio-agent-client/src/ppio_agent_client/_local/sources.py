"""What an agent's folder says about itself: its manifest, or failing that the file that it starts with."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any

from ppio_agent_models import MANIFEST_FILE, ConfigurationError

ENTRYPOINTS = ("main.py", "app.py", "agent.py")
"""Where an agent without a manifest starts, the first that exists."""
START_TIMEOUT_SECONDS = 60.0
"""How long an agent without a manifest may take until `/ping` answers."""
NAME_RULE = "1 to 63 lower-case letters, digits and inner hyphens"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An agent's folder, read.

    Attributes:
        name: From the manifest; None without one.
        entrypoint: What the runtime is started with.
        env_vars: Environment of the agent's process.
        about: Version, description, author and tags, as far as the manifest has them.
        python: The interpreter that it was deployed with; None for whichever there is.
    """

    folder: str
    name: str | None = None
    entrypoint: str
    env_vars: dict[str, str] = field(default_factory=dict, repr=False)
    start_timeout_seconds: float = START_TIMEOUT_SECONDS
    about: dict[str, Any] = field(default_factory=dict)
    python: str | None = None


def read_source(folder: str) -> Source | None:
    """Return what the folder holds, None when there is no agent in it.

    Raises:
        ConfigurationError: The manifest is wrong, or names a file that is not there.
    """
    path = os.path.join(folder, MANIFEST_FILE)
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except FileNotFoundError:
        found = (name for name in ENTRYPOINTS if os.path.isfile(os.path.join(folder, name)))
        entrypoint = next(found, None)
        return Source(folder=folder, entrypoint=entrypoint) if entrypoint else None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the manifest {path!r} cannot be read: {error}") from error
    return _from_manifest(folder, path, text)


def what_was_looked_for() -> str:
    """Return the end of a sentence about a folder without an agent."""
    return f"looked for {MANIFEST_FILE}, {', '.join(ENTRYPOINTS[:-1])} and {ENTRYPOINTS[-1]}"


def is_name(text: str) -> bool:
    """Return whether a template may have this name; the rule is the manifest's."""
    return _NAME.fullmatch(text) is not None


def _from_manifest(folder: str, path: str, text: str) -> Source:
    from ppio_agent_models import AgentManifest  # Brings pydantic; folders without a manifest do without.

    manifest = AgentManifest.from_yaml(text, source=repr(path))
    entrypoint = manifest.spec.entrypoint
    if entrypoint.endswith(".py") and not os.path.isfile(os.path.join(folder, entrypoint)):
        raise ConfigurationError(f"{path!r} names the entrypoint {entrypoint!r}, which is not a file in {folder!r}")
    about = manifest.metadata
    return Source(
        folder=folder,
        name=about.name,
        entrypoint=entrypoint,
        env_vars=manifest.spec.env_vars,
        start_timeout_seconds=float(manifest.spec.runtime.timeout),
        about={"version": about.version, "description": about.description, "author": about.author, "tags": about.tags},
    )
