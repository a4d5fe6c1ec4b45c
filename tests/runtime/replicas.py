"""Replicas of one agent with one store."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.support.agent_process import AgentProcess, agent_process

INSTANCE = "ppio-agent-instance"
KEY = {"Idempotency-Key": "k"}
AGENT = """
from ppio_agent_runtime import AgentError

app = PPIOAgentRuntimeApp()
ledger = os.open(folder.parent / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def shared(word):
    return (folder.parent / word).exists()

@app.entrypoint
async def work(payload, context):
    do = payload.get("do", "stream")
    os.write(ledger, f"{do}\\n".encode())
    if do == "stream":
        return stream(payload)
    if do == "fail":
        raise AgentError("no", status_code=418, error_type="Teapot")
    if do == "report":
        context.progress(1)
    if do == "block":
        while not shared("block"):
            await asyncio.sleep(0.005)
        while not shared("go on"):
            time.sleep(0.01)
    while do in ("wait", "report") and not shared("go on"):
        await asyncio.sleep(0.005)
    return do

async def stream(payload):
    for number in range(payload.get("before", 2)):
        yield f"{number}" + "x" * payload.get("size", 0)
    while not shared("go on"):
        await asyncio.sleep(0.005)
    for number in range(payload.get("after", 1)):
        yield f"last{number}" + "x" * payload.get("last_size", 0)
"""


def reading(path: str, after: int = 0) -> bytes:
    """Return a request for the events of an invocation."""
    return f"GET {path}/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {after}\r\n\r\n".encode()


class Replicas:
    """Replicas of one agent. The words that they hear are files in the folder above theirs."""

    def __init__(self, folder: Path, store_url: str, stack: ExitStack) -> None:
        self._folder = folder
        self.store_url = store_url
        self._stack = stack
        self._count = 0

    def start(self, **variables: str) -> AgentProcess:
        folder = self._folder / f"replica{self._count}"
        folder.mkdir()
        self._count += 1
        store = {"PPIO_AGENT_EVENT_STORE": self.store_url}
        return self._stack.enter_context(agent_process(folder, AGENT, **(store | variables)))

    def say(self, word: str) -> None:
        (self._folder / word).touch()

    @property
    def runs(self) -> list[str]:
        ledger = self._folder / "ledger"
        return ledger.read_text().split() if ledger.exists() else []
