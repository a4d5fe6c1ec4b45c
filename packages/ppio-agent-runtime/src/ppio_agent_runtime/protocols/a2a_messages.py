"""Converts messages of callers to the agent's input, and the agent's interrupts to messages."""

from __future__ import annotations

import base64
import json
from typing import Any

from a2a.types.a2a_pb2 import Message, Part, SendMessageRequest
from a2a.utils.errors import InvalidParamsError
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

from .writing import payload_of

MEDIA_KINDS = ("image", "audio", "video")


def payload_from(asked: SendMessageRequest, interrupts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the handler's payload.

    Args:
        asked: The request.
        interrupts: The interrupts that the task waits for; then the message is the answer.
    """
    message = asked.message
    resume = answers(message, interrupts) if interrupts else None
    spoken = [{"id": message.message_id, "role": "user", "content": _content(message)}]
    return payload_of(
        messages=None if resume else spoken,
        resume=resume,
        forwarded_props=metadata_of(asked) or None,
    )


def metadata_of(asked: SendMessageRequest) -> dict[str, Any]:
    """Return the metadata of a request and of its message."""
    metadata: dict[str, Any] = _json(asked.metadata) | _json(asked.message.metadata)
    return metadata


def timeout_of(asked: SendMessageRequest) -> float | None:
    """Return `metadata.timeout`, in seconds, if it is valid."""
    timeout = metadata_of(asked).get("timeout")
    return timeout if isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0 else None


def answers(message: Message, interrupts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the answers to interrupts in a message.

    A data part with an `interruptId` is an answer to that one. Without such a part, the message answers all of them:
    with its data if it has a data part, else with its text.

    Raises:
        InvalidParamsError: It has neither.
    """
    data = [_json(part.data) for part in message.parts if part.WhichOneof("content") == "data"]
    named = [each for each in data if isinstance(each, dict) and ("interruptId" in each or "interrupt_id" in each)]
    if named:
        return named
    texts = [part.text for part in message.parts if part.WhichOneof("content") == "text"]
    if not data and not texts:
        raise InvalidParamsError("The task waits for an answer: send a part with text or data.")
    payload = data[0] if data else "\n".join(texts)
    return [{"interrupt_id": each["id"], "status": "resolved", "payload": payload} for each in interrupts]


def question(interrupts: list[dict[str, Any]]) -> list[Part]:
    """Return interrupts as parts of a message: each as text for people, if it has any, and as data."""
    parts = []
    for interrupt in interrupts:
        if interrupt.get("message"):
            parts.append(Part(text=interrupt["message"]))
        parts.append(data_part(interrupt))
    return parts


def data_part(value: Any) -> Part:
    """Return JSON data as a part."""
    return Part(data=ParseDict(value, Value()), media_type="application/json")


def _json(message: Any) -> Any:
    """Return a `Struct` or `Value` as JSON data. Their numbers are floats; whole ones become int again."""
    return _with_whole_numbers(MessageToDict(message))


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_whole_numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _content(message: Message) -> str | list[dict[str, Any]]:
    """Return the content for an AG-UI message: a text, or parts if it has more than text."""
    parts = [_part(part) for part in message.parts]
    if all(part["type"] == "text" for part in parts):
        return "\n".join([part["text"] for part in parts])
    return parts


def _part(part: Part) -> dict[str, Any]:
    which = part.WhichOneof("content")
    if which == "text":
        return {"type": "text", "text": part.text}
    if which == "data":
        return {"type": "text", "text": json.dumps(_json(part.data), ensure_ascii=False)}
    if which is None:
        raise InvalidParamsError("A part of the message has none of text, raw, url and data.")
    kind = part.media_type.partition("/")[0]
    value = part.url if which == "url" else base64.b64encode(part.raw).decode()
    source = {"type": "url" if which == "url" else "data", "value": value, "mimeType": part.media_type}
    return {"type": kind if kind in MEDIA_KINDS else "document", "source": source}
