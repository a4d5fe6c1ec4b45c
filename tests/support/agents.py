"""Small agents for tests, as folders that can be deployed."""

from __future__ import annotations

from pathlib import Path

MANIFEST = """\
apiVersion: v1
kind: Agent
metadata:
  name: {name}
spec:
  entrypoint: main.py
  runtime:
    timeout: {timeout}
"""

AGENT = """\
import asyncio
import os
import sys
import time
from pathlib import Path

from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp, RequestContext

app = PPIOAgentRuntimeApp()
turns = 0


@app.entrypoint
{handler}

if __name__ == "__main__":
    app.run()
"""

HANDLERS = {
    # Does what it is told, and remembers how often.
    "worker": """
async def work(request: dict, context: RequestContext):
    global turns
    turns += 1
    match request.get("do"):
        case "die":
            print("farewell", flush=True)
            os._exit(7)
        case "fail":
            raise ValueError("a secret of the agent")
        case "refuse":
            raise AgentError("no such order", status_code=409, error_type="OrderNotFound")
        case "sleep":
            await asyncio.sleep(3600)
        case "environment":
            return dict(os.environ)
        case "session":
            return context.session_id
    return turns
""",
    # Yields for ever, and leaves a note where it is told when somebody stopped it.
    "streamer": """
async def stream(request: dict):
    number = 0
    try:
        while number != request.get("count", -1):
            number += 1
            yield {"number": number}
            if number == request.get("die_at"):
                os._exit(7)
            if number == request.get("fail_at"):
                raise AgentError("no more", error_type="OutOfPaper")
            await asyncio.sleep(0.001)
    finally:
        if "note" in request:
            Path(request["note"]).write_text("stopped")
""",
    "answerer": """
def answer(request: dict) -> str:
    return f"answer to {request['query']}"
""",
    "storyteller": """
def tell(request: dict):
    yield "once"
    yield "upon a time"
""",
}


def write_agent(folder: Path, kind: str, *, timeout: int = 60) -> Path:
    """Write the agent of a kind as a folder, and return it."""
    return write_code(folder, AGENT.format(handler=HANDLERS[kind].strip()), timeout=timeout)


def write_code(folder: Path, code: str, *, timeout: int = 60) -> Path:
    """Write an agent with this `main.py` as a folder, and return it."""
    folder.mkdir(parents=True)
    (folder / ".ppio-agent.yaml").write_text(MANIFEST.format(name=folder.name, timeout=timeout))
    (folder / "main.py").write_text(code)
    return folder
