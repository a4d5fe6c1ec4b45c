"""Values to JSON and back, by pydantic_core; what cannot be JSON is named by its path, never shown by its `repr`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from ppio_agent_models import BadRequestError, SerializationError


def encode(value: Any) -> bytes:
    """Return `value` as JSON (RFC 8259, UTF-8).

    Takes everything that pydantic can serialize: models, dataclasses, dates, UUID, Decimal, Enum, sets, and bytes as
    URL-safe base64 (RFC 4648, section 5). NaN and infinities become null.

    Raises:
        SerializationError: Something inside cannot become JSON; the message has its path and type.
    """
    try:
        return to_json(value, inf_nan_mode="null", bytes_mode="base64")
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        return _encode_or_explain(value, error)


def decode(body: bytes) -> Any:
    """Return the JSON value in `body`. Of repeated keys the last counts; whole numbers stay exact.

    Raises:
        BadRequestError: It is empty, not UTF-8, not JSON, has NaN or Infinity, or is nested deeper than 200.
    """
    if not body or body.isspace():
        raise BadRequestError("The body is empty; send a JSON value.")
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequestError(f"The body is not valid JSON: {error}.") from None


def _encode_or_explain(value: Any, error: Exception) -> bytes:
    """Serialize strings with lone surrogates, which pydantic_core refuses, as escapes; explain everything else."""
    if "surrogates not allowed" in str(error):
        return json.dumps(to_jsonable_python(value, inf_nan_mode="null", bytes_mode="base64")).encode()
    offender = next(_offenders(value, "result", 0), None)
    if offender is None:
        raise SerializationError(f"result cannot become JSON: {_reason(error)}.") from error
    path, culprit = offender
    kind = type(culprit)
    raise SerializationError(
        f"{path} cannot become JSON: it is of type {kind.__module__}.{kind.__qualname__}. "
        "Return values made of dicts, lists, pydantic models, dataclasses and plain types."
    ) from error


def _reason(error: Exception) -> str:
    text = str(error)
    if "Circular reference" in text:
        return "it contains itself"
    if "depth" in text or isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "pydantic refused it"


def _offenders(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield the innermost parts of `value` that cannot be serialized, with their paths."""
    if depth > 100:
        return
    try:
        to_json(value, inf_nan_mode="null", bytes_mode="base64")
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        if "Circular reference" in str(error) or "depth" in str(error):
            return
    else:
        return
    parts = list(_parts(value, path))
    if not parts:
        yield path, value
    for inner_path, inner in parts:
        yield from _offenders(inner, inner_path, depth + 1)


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{path}.{key}" if isinstance(key, str) else f"{path}[{key!r}]", inner
    elif isinstance(value, list | tuple | set | frozenset):
        for index, inner in enumerate(value):
            yield f"{path}[{index}]", inner
    elif hasattr(value, "__dict__") and (
        hasattr(value, "__pydantic_fields__") or hasattr(value, "__dataclass_fields__")
    ):
        for name, inner in vars(value).items():
            yield f"{path}.{name}", inner
