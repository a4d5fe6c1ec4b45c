"""The peers, each as shipped, in an environment of its own that is made when it is needed first."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import venv
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from .loads import NEW_SESSION
from .servers import App


@dataclass(frozen=True)
class Peer:
    """Somebody else's server: its program, what is installed for it, and the class that its users import."""

    app: App
    requirements: list[str]
    imports: str
    groups: frozenset[str] = frozenset({"posts", "streams", "blocking", "start"})


def _run_of_graph(payload: bytes) -> bytes:
    return b'{"assistant_id": "agent", "input": %b}' % payload


def _stream_of_graph(payload: bytes) -> bytes:
    return b'{"assistant_id": "agent", "stream_mode": "custom", "input": %b}' % payload


def _run_of_adk(payload: bytes, **options: bool) -> bytes:
    message = {"role": "user", "parts": [{"text": payload.decode()}]}
    run = {"appName": "bench", "userId": "u-42", "sessionId": f"s-{NEW_SESSION}", "newMessage": message}
    return json.dumps(run | options).encode()


_LANGGRAPH: Final = App(
    *("langgraph-api", "langgraph_server.py"),
    path="/runs/wait",
    stream_path="/runs/stream",
    ping="/ok",
    wrap=_run_of_graph,
    wrap_stream=_stream_of_graph,
    burst_seconds=5,
)
_ADK: Final = App(
    *("google-adk", "adk_server.py"),
    path="/run",
    stream_path="/run_sse",
    ping="/health",
    wrap=_run_of_adk,
    wrap_stream=partial(_run_of_adk, streaming=True),
    burst_seconds=5,
)
_OF_FRAMEWORKS: Final = frozenset({"posts", "streams", "start"})
_ALL: Final = (
    Peer(
        App("starlette", "web.py", variables={"FRAMEWORK": "starlette"}),
        ["starlette", "uvicorn[standard]"],
        "starlette.applications.Starlette",
    ),
    Peer(
        App("fastapi", "web.py", variables={"FRAMEWORK": "fastapi"}),
        ["fastapi", "uvicorn[standard]"],
        "fastapi.FastAPI",
    ),
    Peer(App("ppio-sandbox", "ppio_sdk.py"), ["ppio-sandbox>=2.1,<3"], "ppio_sandbox.agent_runtime.AgentRuntimeApp"),
    Peer(App("agentcore", "agentcore.py"), ["bedrock-agentcore"], "bedrock_agentcore.BedrockAgentCoreApp"),
    Peer(_LANGGRAPH, ["langgraph-api", "langgraph-cli[inmem]"], "langgraph.graph.StateGraph", _OF_FRAMEWORKS),
    Peer(_ADK, ["google-adk"], "google.adk.agents.Agent", _OF_FRAMEWORKS),
)
PEERS: Final = {peer.app.name: peer for peer in _ALL}
STANDARD: Final = "standard"
"""The name of the base in an environment of its own, as `pip install uvicorn[standard]` makes it."""


def peers() -> list[App]:
    """Return the peers that can be installed with this version of Python."""
    found = [installed(peer.app, peer.requirements) for peer in PEERS.values()]
    return [app for app in found if app is not None]


def standard() -> App | None:
    """Return the base on `uvicorn[standard]`, alone in its environment, as the peers are."""
    return installed(App(STANDARD, "raw.py"), ["uvicorn[standard]"])


def installed(app: App, requirements: list[str]) -> App | None:
    """Return an app in an environment with these requirements; None, with the reason on stderr, if it has none."""
    try:
        python = _python_with(app.name, requirements)
    except (subprocess.CalledProcessError, OSError) as error:
        sys.stderr.write(f"{app.name} is left out on Python {platform.python_version()}: {_reason(error)}\n")
        return None
    return replace(app, python=str(python))


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
