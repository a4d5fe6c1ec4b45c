"""MCP's own client in either era of the protocol, and requests as it would send them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest

from tests.protocols.agent import TEXT
from tests.support.calls import call
from tests.support.raw_http import Answer

pytest.importorskip("mcp", reason="needs MCP's package: hatch run judges:test")
from httpx2 import AsyncClient
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

Mode = Literal["auto", "legacy"]
WHOLE = "".join(TEXT)
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def with_client(
    url: str, mode: Mode, use: Callable[[Client], Awaitable[Any]], *, headers: dict[str, str] | None = None, **more: Any
) -> Any:
    """Return what `use` returns of a client that is connected."""

    async def run() -> Any:
        async with (
            AsyncClient(headers=headers or {}, timeout=60) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode, **more) as client,
        ):
            return await use(client)

    return asyncio.run(run())


def ask(url: str, mode: Mode, *prompts: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
    """Return the results of calls of the tool by one client; `more` are arguments."""

    async def use(client: Client) -> list[CallToolResult]:
        return [await client.call_tool("clock", {"prompt": prompt, **more}) for prompt in prompts]

    return with_client(url, mode, use, headers=headers)


def post(url: str, method: str, params: dict[str, Any], **headers: str) -> Answer:
    """Send one request as it was since 2026-07-28, without the client."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": MODERN, **params}}
    named = {"Mcp-Name": params["name"]} if "name" in params else {}
    own = {**ACCEPT, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, **named}
    return call(url, "/mcp", body=json.dumps(body).encode(), headers={**own, **headers})
