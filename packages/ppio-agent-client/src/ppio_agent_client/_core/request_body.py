"""What a caller may ask with: its JSON, and what it says of the call itself."""

from __future__ import annotations

from collections.abc import Mapping

import ppio_agent_models as models
from ppio_agent_models import SerializationError

from .json_codec import dump

Request = object
"""An `InvocationRequest`, a string (sent as `prompt`), or whatever pydantic serializes: a dict, a model, a dataclass, a
list, a number, None."""


def body_of(request: Request) -> bytes:
    """Return the JSON to send: an `InvocationRequest`'s set fields, a string as `prompt`, anything else as it is.

    Raises:
        SerializationError: It, or something in it, has no JSON form.
    """
    if isinstance(request, str):
        return dump({"prompt": request})
    if isinstance(request, models.InvocationRequest):
        try:
            return dump(request.to_wire())
        except ValueError:
            # An extra field that pydantic cannot turn into JSON: dump() says which one.
            return dump(request.model_dump(exclude_unset=True))
    if isinstance(request, bytes | bytearray | memoryview):
        raise SerializationError(
            f"a request of {type(request).__qualname__} may be text or JSON: decode it, or send it inside of a dict",
            status_code=None,
        )
    return dump(dict(request) if isinstance(request, Mapping) else request)


def field_of(request: Request, name: str) -> object:
    """Return a field of a request that is an object in JSON; None where it has none of this name."""
    if isinstance(request, Mapping):
        return request.get(name)
    has_fields = hasattr(type(request), "model_fields") or hasattr(type(request), "__dataclass_fields__")
    return getattr(request, name, None) if has_fields else None


def text_in(request: Request, name: str) -> str | None:
    """Return a field of a request where it is a text that is not empty."""
    value = field_of(request, name)
    return value if isinstance(value, str) and value else None


def requested_timeout(request: Request) -> float | None:
    """Return the `timeout` that a request asks for, in seconds, when it has the contract's type."""
    value = field_of(request, "timeout")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        return None
    return float(value)
