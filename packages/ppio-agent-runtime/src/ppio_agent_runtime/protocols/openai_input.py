"""Converts requests of both OpenAI APIs to AG-UI messages and tools."""

from __future__ import annotations

from typing import Any

from ppio_agent_models import PayloadValidationError


def checked_list(body: Any, name: str) -> list[dict[str, Any]]:
    """Return a required list of objects of a request.

    Raises:
        PayloadValidationError: It is missing, or not such a list.
    """
    given = body.get(name) if isinstance(body, dict) else None
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise PayloadValidationError(f"{name} must be a list of objects.")
    return given


def content_of(content: Any) -> Any:
    """Return the content of a message: a text, or parts if it has more than text."""
    if not isinstance(content, list):
        return content
    parts = [_part(part) for part in content if isinstance(part, dict)]
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def tools_of(body: Any) -> list[dict[str, Any]]:
    """Return the caller's functions; tools of other kinds are ignored.

    Raises:
        PayloadValidationError: They are no list of objects.
    """
    tools = checked_list(body, "tools") if body.get("tools") is not None else []
    described = [tool.get("function", tool) for tool in tools if tool.get("type") == "function"]
    if not all(isinstance(each, dict) for each in described):
        raise PayloadValidationError("The function of a tool must be an object.")
    return [
        {"name": each.get("name"), "description": each.get("description") or "", "parameters": each.get("parameters")}
        for each in described
    ]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("text", "input_text", "output_text", "refusal"):
        return {"type": "text", "text": str(part.get("text", part.get("refusal")))}
    if kind in ("image_url", "input_image"):
        image = part.get("image_url")
        return {"type": "image", "source": _source(image.get("url") if isinstance(image, dict) else image)}
    return {"type": "document", "source": {"type": "url", "value": str(part.get("file_url") or part.get("file_id"))}}


def _source(url: Any) -> dict[str, Any]:
    head, mark, data = str(url).partition(";base64,")
    if mark and head.startswith("data:"):
        return {"type": "data", "value": data, "mimeType": head.removeprefix("data:")}
    return {"type": "url", "value": str(url)}
