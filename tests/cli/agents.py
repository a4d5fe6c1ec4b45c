"""An agent for the command line to look after: what it does is in the prompt. And where it is looked after."""

from __future__ import annotations

from pathlib import Path

from tests.support.platform import API_KEY, Server

MODERN_DOMAIN = "cn-beijing-1.sandbox.ppio.com"

MAIN = """
import os, sys, time
from pathlib import Path
from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()
heard = []

def values(request):
    prompt = request.get("prompt", "")
    heard.append(prompt)
    match prompt.partition(" "):
        case ("count", _, number):
            return [f"{each} " for each in range(int(number))]
        case ("objects", _, _):
            return [{"n": 1}, {"chunk": "text", "type": "content"}, "and text"]
        case ("show", _, names):
            return [[os.environ.get(name) for name in names.split()]]
        case ("say", _, text):
            print(text, flush=True)
            return ["said"]
        case ("raise", _, _):
            raise KeyError("on its own")
        case ("fail", _, text):
            raise AgentError(text, status_code=409, error_type="Refused")
        case ("die", _, text):
            print(text, flush=True)
            os._exit(3)
        case ("heard", _, _):
            return [len(heard)]
    return [request]

@app.entrypoint
def answer(request: dict, context):
    if request.get("prompt") == "wait":
        return waiting(context)
    if request.get("stream_it") or request.get("prompt", "").startswith(("count", "objects")):
        return each(values(request))
    return values(request)[0]

def each(found):
    yield from found

def waiting(context):
    yield "waiting"
    folder = Path(os.environ["MARKS"])
    (folder / "begun").touch()
    try:
        while True:
            time.sleep(0.01)
            yield ""
    finally:
        (folder / "stopped").touch()
"""
MANIFEST = """\
# mine
metadata:
  name: {name}
  version: 1.2.3
  description: Does what it is told
spec:
  entrypoint: main.py
  runtime:
    timeout: 60
"""


def write_agent(folder: Path, name: str = "parrot", main: str = MAIN) -> Path:
    """Write an agent's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(main, encoding="utf-8")
    (folder / ".ppio-agent.yaml").write_text(MANIFEST.format(name=name), encoding="utf-8")
    (folder / "requirements.txt").write_text("ppio-agent-runtime\n")
    return folder


def variables_of(platform: Server) -> dict[str, str]:
    """Return the variables with which the emulator is the platform."""
    urls = {"PPIO_API_URL": platform.url, "PPIO_SANDBOX_URL": platform.url}
    return {**urls, "PPIO_API_KEY": API_KEY, "PPIO_DOMAIN": MODERN_DOMAIN}
