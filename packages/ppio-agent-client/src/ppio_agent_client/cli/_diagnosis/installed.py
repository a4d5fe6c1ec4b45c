"""What is installed: the three wheels, and what their extras bring."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from .._python import RUNTIME_LINE
from .checks import Check, State, is_there

_OURS: Final = ("ppio-agent-client", "ppio-agent-models", "ppio-agent-runtime")
_EXTRAS: Final = {
    "sandbox": (
        "ppio-agent-client[sandbox]",
        "ppio_sandbox",
        "files, commands and terminals of a sandbox, template builds",
    ),
    "otel": ("ppio-agent-runtime[otel]", "opentelemetry.sdk", "traces"),
    "redis": ("ppio-agent-runtime[redis]", "limits", "rate limits of several replicas together"),
    "websocket": ("ppio-agent-runtime[websocket]", "websockets", "WebSockets"),
}


def check_versions() -> Iterator[Check]:
    """Yield what is installed."""
    where = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Check("installed", "python", State.OK, where)
    yield Check("installed", "interpreter", State.OK, sys.executable)
    versions = {name: _version(name) for name in _OURS}
    differ = len({found for found in versions.values() if found}) > 1
    for name, found in versions.items():
        if found is None:
            yield Check("installed", name, State.NOTE, "not installed", f"Needed for `dev`: {RUNTIME_LINE}")
        else:
            state = State.ERROR if differ else State.OK
            yield Check("installed", name, state, found, "Install the same version of all three." if differ else None)
    for name, (extra, module, use) in _EXTRAS.items():
        there = is_there(module)
        state, value = (State.OK, "installed") if there else (State.NOTE, f"not installed: {use}")
        yield Check("installed", f"extra {name}", state, value, None if there else f"pip install '{extra}'")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
