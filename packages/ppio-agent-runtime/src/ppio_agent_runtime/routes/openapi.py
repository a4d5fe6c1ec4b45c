"""Describes the routes that are handled before FastAPI, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from ppio_agent_models import InvocationResource, InvocationResponse, PingResponse

_REF = "#/components/schemas/{model}"

_ERRORS = {
    400: "Not JSON, not UTF-8, empty, too deep, or a malformed header",
    401: "No API key or signature, or a wrong one, if the agent requires one",
    404: "No such invocation is kept here",
    406: "The Accept header allows neither JSON nor an event stream",
    408: "The body did not arrive in time",
    409: "The session is busy, or a newer invocation of it took over",
    410: "The events are no longer kept",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "The body does not fit the agent's payload type",
    429: "Too many requests; Retry-After says how long to wait",
    431: "The header fields are too many or too large",
    500: "The agent failed",
    503: "The agent is full or draining; Retry-After says how long to wait",
    504: "The agent did not finish in time",
}

# As FastAPI describes its own streams: OpenAPI 3.2 has a schema for each event (section 4.14.5).
_EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {"type": "string", "contentMediaType": "application/json"},
        "event": {"type": "string", "description": "done or error, for callers of protocol 1"},
        "id": {"type": "string", "description": "The event's number, for callers of protocol 1"},
    },
}

_REQUEST_HEADERS = (
    ("X-PPIO-Session-Id", "The session, percent-encoded UTF-8, at most 256 characters", {"type": "string"}),
    ("X-PPIO-Request-Id", "Returned in the response, and written to the agent's log", {"type": "string"}),
    ("X-PPIO-User-Id", "Reaches the agent as context.user_id", {"type": "string"}),
    ("X-PPIO-Timeout", "Longest time in seconds", {"type": "number", "exclusiveMinimum": 0}),
    ("PPIO-Agent-Protocol", "1: numbered events, closed by done or error; else ignored", {"type": "string"}),
    (
        "Idempotency-Key",
        "Equal requests of a session run the agent once",
        {"type": "string", "pattern": "^[ -~]{1,255}$"},
    ),
    ("Prefer", "respond-async: 202 at once (RFC 7240); else ignored", {"type": "string"}),
    ("X-PPIO-On-Disconnect", "What happens when the caller disconnects", {"enum": ["cancel", "continue"]}),
)


def describe_agent(payload_type: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the paths of an agent that takes `payload_type`, and the schemas that they refer to."""
    schemas: dict[str, Any] = {}
    for model in (InvocationResponse, InvocationResource, PingResponse):
        schema = model.model_json_schema(ref_template=_REF)
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    adapter: TypeAdapter[Any] = TypeAdapter(payload_type)
    payload = adapter.json_schema(ref_template=_REF)
    schemas |= payload.pop("$defs", {})
    paths = {
        "/invocations": {"post": _invoke(payload)},
        "/invocations/{invocation_id}": {"get": _look(), "delete": _cancel()},
        "/invocations/{invocation_id}/events": {"get": _events()},
        "/ping": {"get": _ping()},
    }
    return paths, schemas


def _invoke(payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": "Invoke the agent",
        "description": "Responds with JSON, or with server-sent events for `Accept: text/event-stream`.",
        "parameters": [_header(*header) for header in _REQUEST_HEADERS],
        "requestBody": {"required": True, "content": {"application/json": {"schema": payload}}},
        "responses": {
            "200": {
                "description": "The result, or the stream",
                "content": _json(InvocationResponse) | {"text/event-stream": {"itemSchema": _EVENT}},
            },
            "202": {"description": "The invocation continues without its caller", "content": _json(InvocationResource)},
            **_errors(*(status for status in _ERRORS if status not in (404, 410))),
        },
    }


def _look() -> dict[str, Any]:
    seconds = {"type": "number", "minimum": 0, "maximum": 300}
    wait = {"name": "wait", "in": "query", "description": "How many seconds to wait for its end", "schema": seconds}
    return {
        "summary": "Get an invocation",
        "parameters": [_INVOCATION_ID, wait],
        "responses": {
            "200": {"description": "Its state, and its response once it is over", "content": _json(InvocationResource)},
            **_errors(400, 401, 404, 431),
        },
    }


def _cancel() -> dict[str, Any]:
    return {
        "summary": "Cancel an invocation",
        "parameters": [_INVOCATION_ID],
        "responses": {
            "200": {"description": "It was over", "content": _json(InvocationResource)},
            "202": {"description": "It is being cancelled", "content": _json(InvocationResource)},
            **_errors(400, 401, 404, 431),
        },
    }


def _events() -> dict[str, Any]:
    return {
        "summary": "Read the events of an invocation",
        "parameters": [
            _INVOCATION_ID,
            _header("Last-Event-ID", "Number of the last event that arrived", {"type": "integer", "minimum": 0}),
        ],
        "responses": {
            "200": {
                "description": "The kept events, then new ones",
                "content": _json(InvocationResponse) | {"text/event-stream": {"itemSchema": _EVENT}},
            },
            **_errors(400, 401, 404, 410, 431),
        },
    }


def _ping() -> dict[str, Any]:
    return {
        "summary": "Health",
        "responses": {
            "200": {"description": "Healthy or HealthyBusy", "content": _json(PingResponse)},
            "503": {"description": "Unhealthy or draining", "content": _json(PingResponse)},
        },
    }


_INVOCATION_ID = {"name": "invocation_id", "in": "path", "required": True, "schema": {"type": "string"}}


def _header(name: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": schema}


def _json(model: type[Any]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): {"description": _ERRORS[status], "content": _json(InvocationResponse)} for status in statuses}
