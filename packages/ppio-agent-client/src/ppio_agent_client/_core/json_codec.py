"""Encodes and decodes JSON: with pydantic_core for speed, and with the standard library for what that refuses.

pydantic_core takes 20 ms to import, so it is imported when the first client is created.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

from ppio_agent_models import SerializationError
from ppio_agent_models._private_fields import private_fields

_MAX_PATH_CHARS = 40


def load(text: bytes | str) -> Any:
    """Return the decoded value.

    pydantic_core refuses lone surrogates, a byte order mark and more than 200 levels; the standard library doesn't.

    Raises:
        ValueError: It is not JSON.
    """
    import pydantic_core

    try:
        return pydantic_core.from_json(text)
    except ValueError:
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None


def load_or_text(body: bytes) -> Any:
    """Return the decoded body; its text if it isn't JSON, None if it is empty."""
    if not body:
        return None
    try:
        return load(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def dump(value: Any, *, name: str = "request") -> bytes:
    """Return `value` as JSON. Models, dataclasses, dates, sets and the like become their JSON forms, NaN becomes null.

    Private fields of dataclasses (`_name`) are left out; keys of dicts are data, and stay.

    Raises:
        SerializationError: Something in it has no JSON form; the message names its path, from `name` on, and type.
    """
    import pydantic_core

    try:
        data = pydantic_core.to_json(value, inf_nan_mode="null", bytes_mode="base64")
        if b'"_' in data and (private := private_fields(value, name)):
            return pydantic_core.to_json(value, exclude=private, inf_nan_mode="null", bytes_mode="base64")
        return data
    except (ValueError, RecursionError):
        return _dump_slowly(value, name)


def _dump_slowly(value: Any, name: str) -> bytes:
    try:
        if (private := private_fields(value, name)) is not None:
            value = _jsonable(value, private)
        return json.dumps(value, allow_nan=False, default=_jsonable).encode()
    except (TypeError, ValueError, RecursionError) as error:
        path, culprit = _culprit(value, name, 0) or (name, value)
        raise SerializationError(f"{path} cannot become JSON: {_reason(culprit)}", status_code=None) from error


def _reason(culprit: Any) -> str:
    if isinstance(culprit, dict | list | tuple):
        return "it is nested too deeply, or in itself"
    if isinstance(culprit, type):
        return f"it is the class {culprit.__qualname__} and no object of it"
    kind = type(culprit)
    told = "a coroutine: await it first" if inspect.iscoroutine(culprit) else "send plain data"
    return f"{kind.__module__}.{kind.__qualname__} has no JSON form; {told}"


def _jsonable(value: Any, private: dict[Any, Any] | None = None) -> Any:
    import pydantic_core

    return pydantic_core.to_jsonable_python(value, exclude=private, inf_nan_mode="null", bytes_mode="base64")


def _culprit(value: Any, path: str, depth: int) -> tuple[str, Any] | None:
    """Return path and value of the first thing inside `value` that does not become JSON."""
    if depth > 100:
        return path[:_MAX_PATH_CHARS] + "...", value
    if isinstance(value, dict):
        parts = [(f"{path}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        try:
            json.dumps(value, default=_jsonable)
        except (TypeError, ValueError, RecursionError):
            return path, value
        return None
    return next(filter(None, (_culprit(item, name, depth + 1) for name, item in parts)), None)
