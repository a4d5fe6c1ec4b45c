"""One command line for each protocol of an agent, to try it out."""

from __future__ import annotations

import json
import sys
from typing import Any

_CHAT_MESSAGE = {"role": "user", "content": "Hello"}


def line_to_try(protocol: str, url: str, path: str) -> str:
    """Return a command, or a URL, that calls an agent through a protocol.

    Args:
        protocol: Its name in `PPIO_AGENT_PROTOCOLS`.
        url: The agent's URL, without a trailing slash.
        path: The path of the protocol's first route.
    """
    where = f"{url}{path}"
    if protocol == "ag-ui":
        message = {"id": "1", **_CHAT_MESSAGE}
        empty: dict[str, Any] = {"tools": [], "context": [], "state": {}, "forwardedProps": {}}
        return curl(where, {"threadId": "1", "runId": "1", "messages": [message], **empty})
    if protocol == "openai":
        return curl(f"{where}/chat/completions", {"model": "agent", "messages": [_CHAT_MESSAGE], "stream": True})
    if protocol == "vercel":
        parts = [{"type": "text", "text": "Hello"}]
        return curl(where, {"id": "1", "messages": [{"id": "1", "role": "user", "parts": parts}]})
    if protocol == "a2a":
        return f"curl {url}/.well-known/agent-card.json"
    if protocol == "mcp":
        return f"npx @modelcontextprotocol/inspector --cli {where} --transport http --method tools/list"
    return where


def curl(url: str, payload: object, *headers: str) -> str:
    """Return a command that posts JSON and shows the response as it arrives."""
    body = json.dumps(payload)
    quoted = json.dumps(body) if sys.platform == "win32" else f"'{body}'"
    named = "".join(f"-H {header} " for header in ("Content-Type:application/json", *headers))
    return f"curl -N {named}-d {quoted} {url}"
