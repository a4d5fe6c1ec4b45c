"""An agent as it is deployed, for sandboxes of the platform emulator, and the settings that lead a client there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from ppio_agent_client import ClientConfig
from tests.support.platform import API_KEY

MODERN = "emulator.test"
"""A domain of the newer dialect; the default one speaks the older."""
LEGACY = "sandbox.ppio.cn"

MANIFEST = """\
apiVersion: v1
kind: Agent
metadata:
  name: my-agent
  version: 1.2.3
  author: dev@example.com
spec:
  entrypoint: main.py
"""
PROGRAM = """\
import os
from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()
turns = []

@app.entrypoint
def main(request, context):
    turns.append(request.get("prompt"))
    return {
        "turns": len(turns),
        "session": context.session_id,
        "greeting": os.environ.get("GREETING"),
        "headers": dict(context.headers),
        "key": os.environ.get("PPIO_API_KEY"),
    }

if __name__ == "__main__":
    app.run()
"""


def agent_folder(
    folder: Path, *, program: str = PROGRAM, manifest: str | None = MANIFEST, file: str = "main.py"
) -> Path:
    """Return a folder with an agent in it."""
    folder.mkdir(parents=True)
    (folder / file).write_text(program)
    if manifest is not None:
        (folder / ".ppio-agent.yaml").write_text(manifest)
    return folder


def settings(url: str, **more: Any) -> ClientConfig:
    """Return the settings of a client of the emulator at `url`."""
    given: dict[str, Any] = {"api_key": API_KEY, "domain": MODERN, "sandbox_url": url, "retry_delay": 0.02}
    return ClientConfig(**{**given, "base_url": url, **more})


async def uncalled(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for an agent that nobody calls; such a sandbox costs nothing."""
    raise AssertionError("nobody calls it")
