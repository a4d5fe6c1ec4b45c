"""What an event costs the server through each protocol. Prints figures, judges nothing.

    python -m tests.bench.protocol_events [--events 100000] [--rounds 5] [--pause 0]

One agent in a process of its own says short words, one `yield` each; the protocols are asked in turn, so that a busy
machine harms all alike. A figure is the median over the rounds of the user and system time of the agent's process,
divided by the words: the whole answer is in it. On a busy machine processor time grows too, but for all alike: compare
with the first figure of the same run. `--pause N` lets others run after every N words, so that an answer is
sent in pieces of N, as models send theirs. Needs a2a-sdk and mcp.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import uuid
from typing import Any

from .agents import agent
from .proc import cpu_seconds

AGENT = """
import asyncio
from ppio_agent_runtime import PPIOAgentRuntimeApp
app = PPIOAgentRuntimeApp()

@app.entrypoint
async def agent(request: dict):
    for number in range({events}):
        yield "word "
        if {pause} and number % {pause} == 0:
            await asyncio.sleep(0)
"""
SSE = {"Accept": "text/event-stream"}
DURABLE = {**SSE, "PPIO-Agent-Protocol": "1"}
TYPED = {"PPIO-Agent-Events": "1"}
MCP = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "agent",
}
MESSAGES = [{"id": "1", "role": "user", "content": "x", "parts": [{"type": "text", "text": "x"}]}]


def mcp(**meta: Any) -> dict[str, Any]:
    names = {"protocolVersion": "2026-07-28", "clientCapabilities": {}}
    meta |= {f"io.modelcontextprotocol/{name}": value for name, value in names.items()}
    params = {"name": "agent", "arguments": {"prompt": "x"}, "_meta": meta}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def a2a(key: str) -> dict[str, Any]:
    message = {"messageId": key, "role": "ROLE_USER", "parts": [{"text": "x"}]}
    return {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {"message": message}}


def requests(key: str) -> dict[str, tuple[str, Any, dict[str, str]]]:
    """Return path, body and headers of a request by each protocol; `key` is one that none had before."""
    return {
        "/invocations, text": ("/invocations", {}, SSE),
        "/invocations, typed": ("/invocations", {}, SSE | TYPED),
        "/invocations, durable": ("/invocations", {}, DURABLE | {"Idempotency-Key": key}),
        "/invocations, durable and typed": ("/invocations", {}, DURABLE | TYPED | {"Idempotency-Key": f"{key}-2"}),
        "AG-UI": ("/ag-ui", {"threadId": key, "runId": "r", "messages": MESSAGES}, {}),
        "Chat Completions": ("/v1/chat/completions", {"messages": MESSAGES, "stream": True}, {}),
        "Responses": ("/v1/responses", {"input": "x", "stream": True}, {}),
        "Responses in the background": ("/v1/responses", {"input": "x", "stream": True, "background": True}, {}),
        "Vercel": ("/api/chat", {"id": key, "messages": MESSAGES}, {}),
        "A2A (always durable)": ("/a2a", a2a(key), {"A2A-Version": "1.0"}),
        "MCP": ("/mcp", mcp(), MCP),
        "MCP with progress": ("/mcp", mcp(progressToken=1), MCP),
    }


def ask(port: int, path: str, body: Any, headers: dict[str, str]) -> int:
    """Return how many bytes the answer has."""
    data = json.dumps(body).encode()
    named = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**named, "Connection": "close"}.items())
    received = 0
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data)
        while read := connection.recv(1 << 20):
            received += len(read)
    return received


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--events", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--pause", type=int, default=0)
    given = options.parse_args()
    program = AGENT.format(events=given.events, pause=given.pause)
    spent: dict[str, list[float]] = {name: [] for name in requests("")}
    with agent(program, {"PPIO_AGENT_PROTOCOLS": "all"}) as served:
        for number in range(given.rounds + 1):  # the first imports
            for name, request in requests(uuid.uuid4().hex).items():
                before = cpu_seconds(served.pid)
                if ask(served.port, *request) < 5 * given.events:
                    raise RuntimeError(f"{name} did not answer as it should")
                if number:
                    spent[name].append((cpu_seconds(served.pid) - before) / given.events * 1e6)
    least = statistics.median(next(iter(spent.values())))
    for name, figures in spent.items():
        cost = statistics.median(figures)
        print(f"{name:32} {cost:6.2f} us, {cost / least:4.1f} times the first")


if __name__ == "__main__":
    main()
