"""The agent of a folder: can it start, and what does that cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ppio_agent_models import MANIFEST_FILE, PPIOAgentRuntimeError

from .._failures import CommandError
from .._manifest_file import read_manifest
from .._python import RUNTIME_LINE, has_runtime, project_python
from .._startup import start_profile
from .checks import Check, State

_SHOWN_PACKAGES: Final = 5
_SLOW_START_SECONDS: Final = 2.0


def check_agent(folder: Path) -> Iterator[Check]:
    """Yield what the start of the agent in a folder costs; nothing where there is none."""
    if not (folder / MANIFEST_FILE).is_file():
        return
    try:
        manifest = read_manifest(folder / MANIFEST_FILE)
    except (PPIOAgentRuntimeError, CommandError) as error:
        yield Check("agent", "manifest", State.ERROR, str(error), "ppio-agent validate")
        return
    python = project_python(folder)
    yield Check("agent", "name", State.OK, f"{manifest.metadata.name} {manifest.metadata.version}")
    yield Check("agent", "python", State.OK, python)
    if not has_runtime(python):
        yield Check("agent", "start", State.ERROR, "its Python has no ppio-agent-runtime", RUNTIME_LINE)
        return
    profile = start_profile(folder, python, manifest.spec.entrypoint, manifest.spec.env_vars)
    if profile is None:
        yield Check("agent", "start", State.ERROR, "it cannot be imported", "ppio-agent validate")
        return
    slow = profile.seconds > _SLOW_START_SECONDS
    hint = "Import what is heavy inside functions: each sandbox waits for it." if slow else None
    yield Check("agent", "start", State.NOTE if slow else State.OK, f"its import takes {_milli(profile.seconds)}", hint)
    for package, seconds in list(profile.packages.items())[:_SHOWN_PACKAGES]:
        yield Check("agent", f"  {package}", State.OK, _milli(seconds))


def _milli(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
