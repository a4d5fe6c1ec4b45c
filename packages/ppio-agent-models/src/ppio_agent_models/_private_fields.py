"""Where private fields (`_name`) of dataclasses stand in a value, so that they are not told; keys of dicts are data."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

from ._errors import SerializationError

_SCALARS: Final = frozenset({str, int, float, bool, bytes, type(None)})


def private_fields(value: Any, path: str) -> dict[Any, Any] | None:
    """Return what pydantic's `exclude` takes to leave out all private fields in `value`; None where there is none.

    Args:
        value: It does not contain itself.
        path: Its name, for the message of an error.

    Raises:
        SerializationError: What is in an iterator, or private in a set, cannot be left out.
    """
    kind = type(value)
    if kind in _SCALARS or isinstance(value, type):
        return None
    if isinstance(value, dict):
        return _parts(value.items(), path)
    if isinstance(value, list | tuple | deque):
        return _parts(enumerate(value), path)
    if isinstance(value, set | frozenset):
        if any(private_fields(each, path) for each in value):
            raise SerializationError(f"{path} is a set of objects with private fields. Make it a list.")
        return None
    if isinstance(value, Iterator):
        raise SerializationError(f"{path} is an iterator, which cannot be searched for private fields. Make it a list.")
    if dataclasses.is_dataclass(value):
        fields = [(each.name, getattr(value, each.name, None)) for each in dataclasses.fields(value)]
        return _parts(fields, path, of_object=True)
    if hasattr(kind, "__pydantic_root_model__") and kind.__pydantic_root_model__:
        return private_fields(value.root, path)
    if hasattr(kind, "__pydantic_fields__"):
        return _parts({**vars(value), **(value.__pydantic_extra__ or {})}.items(), path)
    return None


def _parts(parts: Iterable[tuple[Any, Any]], path: str, *, of_object: bool = False) -> dict[Any, Any] | None:
    found: dict[Any, Any] = {}
    for name, part in parts:
        if of_object and name.startswith("_"):
            found[name] = True
        elif type(part) not in _SCALARS and (inner := private_fields(part, f"{path}.{name}")):
            found[name] = inner
    return found or None
