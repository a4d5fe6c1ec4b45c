"""The peers, each as shipped, in an environment of its own that is made when it is needed first."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from .servers import App

_PEERS: Final[dict[str, tuple[str, list[str], dict[str, str]]]] = {
    "starlette": ("web.py", ["uvicorn[standard]", "starlette"], {"FRAMEWORK": "starlette"}),
    "fastapi": ("web.py", ["uvicorn[standard]", "fastapi"], {"FRAMEWORK": "fastapi"}),
    "ppio-sandbox": ("ppio_sdk.py", ["ppio-sandbox>=2.1,<3"], {}),
    "agentcore": ("agentcore.py", ["bedrock-agentcore"], {}),
}
NAMES: Final = list(_PEERS)


def cache_folder() -> Path:
    """Return where the environments are kept, one set for each version of Python."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return home / "ppio-agent-bench" / platform.python_version()


def peers() -> list[App]:
    """Return the peers that can be installed; what cannot is named and left out."""
    found = []
    for name, (program, requirements, variables) in _PEERS.items():
        try:
            found.append(App(name, program, str(_python_with(name, requirements)), variables))
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"{name} is left out: it cannot be installed ({error})\n")
    return found


def version_of(name: str) -> str:
    """Return the version of a peer that is installed."""
    package = "bedrock-agentcore" if name == "agentcore" else name
    command = f"from importlib.metadata import version; print(version({package!r}))"
    python = cache_folder() / name / "bin" / "python"
    return subprocess.run([python, "-c", command], check=True, capture_output=True, text=True).stdout.strip()


def _python_with(name: str, requirements: list[str]) -> Path:
    folder = cache_folder() / name
    python = folder / "bin" / "python"
    marker = folder / "complete"
    if not marker.exists():
        sys.stderr.write(f"installing {name} into {folder}\n")
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirements], check=True)
        marker.touch()
    return python
