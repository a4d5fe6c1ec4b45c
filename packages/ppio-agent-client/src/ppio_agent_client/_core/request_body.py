"""Encodes the caller's request as JSON, and reads its fields that concern the call itself."""

from __future__ import annotations

from collections.abc import Mapping

import ppio_agent_models as models
from ppio_agent_models import SerializationError

from .json_codec import dump

Request = object
"""An `InvocationRequest`, a string (sent as `prompt`), or anything that pydantic serializes: a dict, a model, a
dataclass, a list, a number, None."""


def body_of(request: Request) -> bytes:
    """Return the JSON to send: an `InvocationRequest`'s set fields, a string as `prompt`, anything else unchanged.

    Raises:
        SerializationError: It, or a part of it, cannot become JSON.
    """
    if isinstance(request, str):
        return dump({"prompt": request})
    if isinstance(request, models.InvocationRequest):
        try:
            return dump(request.to_wire())
        except ValueError:
            # An extra field cannot become JSON; dump() raises an error that names it.
            return dump(request.model_dump(exclude_unset=True))
    if isinstance(request, bytes | bytearray | memoryview):
        raise SerializationError(
            f"a request of type {type(request).__qualname__} is ambiguous: decode it, or send it inside a dict",
            status_code=None,
        )
    return dump(dict(request) if isinstance(request, Mapping) else request)


def field_of(request: Request, name: str) -> object:
    """Return a field of a request that is an object in JSON, or None if it has no such field."""
    if isinstance(request, Mapping):
        return request.get(name)
    has_fields = hasattr(type(request), "model_fields") or hasattr(type(request), "__dataclass_fields__")
    return getattr(request, name, None) if has_fields else None


def text_in(request: Request, name: str) -> str | None:
    """Return a field of a request if it is a non-empty string."""
    value = field_of(request, name)
    return value if isinstance(value, str) and value else None


def requested_timeout(request: Request) -> float | None:
    """Return the `timeout` of a request, in seconds, if it is a positive number."""
    value = field_of(request, "timeout")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        return None
    return float(value)
