"""a2a-sdk's own client, for either binding and version, and what it hears in short."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.calls import call
from tests.support.raw_http import Answer

pytest.importorskip("a2a", reason="needs a2a-sdk: hatch run judges:test")

import httpx
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.types.a2a_pb2 import Message, Part, Role, SendMessageRequest, Task, TaskState
from a2a.utils.errors import A2AError
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

DIALECTS = [("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3"), ("HTTP+JSON", "0.3")]


@asynccontextmanager
async def connected(
    url: str, binding: str = "JSONRPC", version: str = "1.0", *, streaming: bool = True, **headers: str
) -> AsyncIterator[Client]:
    """Connect by the agent's card, of which one binding and version is left."""
    async with httpx.AsyncClient(timeout=60, headers=headers) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        kept = [
            each
            for each in card.supported_interfaces
            if (each.protocol_binding, each.protocol_version) == (binding, version)
        ]
        assert len(kept) == 1
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(kept)
        config = ClientConfig(httpx_client=http, streaming=streaming, supported_protocol_bindings=[binding])
        yield ClientFactory(config).create(card)


def saying(text: str | list[Part], message_id: str = "m", **fields: Any) -> SendMessageRequest:
    """Return a request with one message."""
    parts = [Part(text=text)] if isinstance(text, str) else text
    metadata = fields.pop("metadata", None)
    return SendMessageRequest(
        message=Message(message_id=message_id, role=Role.ROLE_USER, parts=parts, **fields), metadata=metadata
    )


async def heard(events: AsyncIterator[Any]) -> list[Any]:
    """Return all events of a stream."""
    return [event async for event in events]


async def answered(client: Client, request: SendMessageRequest) -> Task:
    """Return the task that a request without a stream is answered with."""
    [event] = await heard(client.send_message(request))
    task: Task = event.task
    return task


def state_of(event: Any) -> str:
    """Return the state that an event or task tells."""
    told = event.status_update if hasattr(event, "status_update") and event.HasField("status_update") else event
    told = told.task if hasattr(told, "task") else told
    name: str = TaskState.Name(told.status.state)
    return name.removeprefix("TASK_STATE_")


def deltas(events: list[Any]) -> list[str]:
    """Return the text of a stream, piece by piece."""
    updates = [event.artifact_update for event in events if event.HasField("artifact_update")]
    return [update.artifact.parts[0].text for update in updates if not update.last_chunk]


def data_in(events: list[Any]) -> list[Any]:
    """Return the data of a stream's status messages."""
    messages = [event.status_update.status.message for event in events if event.HasField("status_update")]
    return [MessageToDict(part.data) for message in messages for part in message.parts if part.HasField("data")]


def texts(task: Task) -> list[str]:
    """Return the text of each artifact."""
    return [artifact.parts[0].text for artifact in task.artifacts]


def said(task: Task) -> str:
    """Return the text of the status."""
    return "".join(part.text for part in task.status.message.parts)


def data(value: Any) -> Part:
    """Return a part that is data."""
    return Part(data=ParseDict(value, Value()))


def rpc(url: str, method: str, params: Any, path: str = "/a2a", **headers: str) -> Answer:
    """Send one request without the client."""
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).encode()
    return call(url, path, body=body, headers={"A2A-Version": "1.0", **headers})


def refusal(kind: type[A2AError], binding: str, version: str) -> type[A2AError]:
    """Return what the client raises; of HTTP+JSON 0.3 it tells no kinds."""
    return A2AError if (binding, version) == ("HTTP+JSON", "0.3") else kind
