"""What the platform wants a body to look like, and how it answers errors: a status and `{code, message}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse


def error_response(error: HTTPException) -> JSONResponse:
    """Return an error as the control plane shows it."""
    return JSONResponse({"code": error.status_code, "message": error.detail}, error.status_code)


Check = Callable[[object], bool]


def text(value: object) -> bool:
    return isinstance(value, str)


def flag(value: object) -> bool:
    return isinstance(value, bool)


def seconds(value: object) -> bool:
    return type(value) is int and value >= 0


def texts(value: object) -> bool:
    return isinstance(value, list) and all(map(text, value))


def pairs(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for item in value.items() for each in item)


def mapping(value: object) -> bool:
    return isinstance(value, dict)


def listing(value: object) -> bool:
    return isinstance(value, list)


async def body_of(
    request: Request, *, required: Mapping[str, Check] | None = None, optional: Mapping[str, Check] | None = None
) -> dict[str, Any]:
    """Return the JSON object of a request that has exactly the fields that it may have.

    Raises:
        HTTPException: 400 that names the field which is missing, unknown, or of the wrong type.
    """
    raw = await request.body()
    try:
        body = await request.json() if raw else {}
    except ValueError:
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise HTTPException(400, "the body is not an object")
    checks = {**(required or {}), **(optional or {})}
    for name in required or {}:
        if name not in body:
            raise HTTPException(400, f"the field {name!r} is missing")
    for name, value in body.items():
        if name not in checks:
            raise HTTPException(400, f"the field {name!r} is unknown")
        if not checks[name](value):
            raise HTTPException(400, f"the field {name!r} must be of the type {checks[name].__name__}")
    return body
