"""Validates an agent's results and chunks as the caller's types."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import ppio_agent_models as models
from ppio_agent_models import ConfigurationError, ResultValidationError

from .json_codec import dump

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_MAX_SHOWN = 5


def typed(response: models.InvocationResponse[Any], kind: type[T] | None) -> models.InvocationResponse[T]:
    """Return a response with its result validated as `kind`, or unchanged if `kind` is None.

    Raises:
        ResultValidationError: It is not of that type.
    """
    if kind is not None:
        request_id = (response.metadata or {}).get("request_id")
        response.result = fitted(response.result, kind, what="result", request_id=request_id)
    return response


def fitted(value: Any, kind: type[T], *, what: str, request_id: str | None) -> T:
    """Return a decoded value as `kind`: a model, a dataclass, or anything that pydantic validates.

    Raises:
        ResultValidationError: It is not of that type. The message names the fields, and never their values.
    """
    from pydantic import ValidationError

    try:
        adapter: TypeAdapter[T] = _adapter_for(kind)
        return adapter.validate_json(dump(value, name=what))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        problems = [": ".join(filter(None, (_path(each["loc"]), each["msg"]))) for each in details]
        more = f" (and {len(problems) - _MAX_SHOWN} more)" if len(problems) > _MAX_SHOWN else ""
        name = repr(kind) if get_args(kind) else getattr(kind, "__qualname__", repr(kind))
        raise ResultValidationError(
            f"the {what} of the agent does not fit {name}: {'; '.join(problems[:_MAX_SHOWN])}{more}",
            result=value,
            request_id=request_id,
        ) from error


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _adapter_for(kind: Any) -> TypeAdapter[Any]:
    try:
        return _adapter(kind)
    except TypeError as error:  # it cannot be hashed
        raise _no_type(kind) from error


@lru_cache(256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    if isinstance(kind, str):
        raise _no_type(kind)
    try:
        return TypeAdapter(kind)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise ConfigurationError(f"pydantic cannot validate a result as {kind!r}: {error.message}") from error


def _no_type(kind: object) -> ConfigurationError:
    return ConfigurationError(f"the type of a result is a class, list[int] and the like, not {kind!r}")
