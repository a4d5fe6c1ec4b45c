"""The peers, each as shipped, in an environment of its own that is made when it is needed first."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .servers import App


@dataclass(frozen=True)
class Peer:
    """Somebody else's server: its program in `apps`, what is installed for it, and the class that its users import."""

    program: str
    requirements: list[str]
    imports: str
    variables: dict[str, str] = field(default_factory=dict)


PEERS: Final = {
    "starlette": Peer(
        "web.py",
        ["starlette", "uvicorn[standard]"],
        "starlette.applications.Starlette",
        {"FRAMEWORK": "starlette"},
    ),
    "fastapi": Peer("web.py", ["fastapi", "uvicorn[standard]"], "fastapi.FastAPI", {"FRAMEWORK": "fastapi"}),
    "ppio-sandbox": Peer("ppio_sdk.py", ["ppio-sandbox>=2.1,<3"], "ppio_sandbox.agent_runtime.AgentRuntimeApp"),
    "agentcore": Peer("agentcore.py", ["bedrock-agentcore"], "bedrock_agentcore.BedrockAgentCoreApp"),
}
STANDARD: Final = "standard"
"""The name of the base in an environment of its own, as `pip install uvicorn[standard]` makes it."""


def peers() -> list[App]:
    """Return the peers that can be installed with this version of Python."""
    found = [installed(name, peer.program, peer.requirements, peer.variables) for name, peer in PEERS.items()]
    return [app for app in found if app is not None]


def standard() -> App | None:
    """Return the base on `uvicorn[standard]`, alone in its environment, as the peers are."""
    return installed(STANDARD, "raw.py", ["uvicorn[standard]"], {})


def installed(name: str, program: str, requirements: list[str], variables: dict[str, str]) -> App | None:
    """Return a program in an environment with these requirements; None, with the reason on stderr, if it has none."""
    try:
        python = _python_with(name, requirements)
    except (subprocess.CalledProcessError, OSError) as error:
        sys.stderr.write(f"{name} is left out on Python {platform.python_version()}: {_reason(error)}\n")
        return None
    return App(name, program, str(python), variables)


def version_of(app: App) -> str:
    """Return the version of an installed peer."""
    package = PEERS[app.name].requirements[0].partition(">")[0]
    command = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([app.python, "-c", command], check=True, capture_output=True, text=True).stdout.strip()


def _python_with(name: str, requirements: list[str]) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = home / "ppio-agent-bench" / platform.python_version() / name
    python = folder / "bin" / "python"
    marker = folder / "complete"
    if not marker.exists():
        sys.stderr.write(f"installing {name} into {folder}\n")
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirements], check=True, stderr=subprocess.PIPE, text=True)
        marker.touch()
    return python


def _reason(error: subprocess.CalledProcessError | OSError) -> str:
    printed = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    lines = [line for line in (printed or "").splitlines() if line.startswith("ERROR")]
    return lines[-1] if lines else str(error)
