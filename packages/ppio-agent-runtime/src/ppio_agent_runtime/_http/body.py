"""The body of a request, counted as it arrives: no header is trusted about its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppio_agent_models import BadRequestError, PayloadTooLargeError

from ..errors import ClientGoneError

if TYPE_CHECKING:
    from .._asgi import Receive


async def read_body(receive: Receive, declared: bytes | None, max_bytes: int) -> bytes:
    """Return the whole body.

    Args:
        receive: Where it comes from.
        declared: The `Content-Length` header, used only to refuse early.
        max_bytes: How many bytes it may have.

    Raises:
        PayloadTooLargeError: More than `max_bytes` arrived or were announced.
        ClientGoneError: The caller hung up meanwhile.
    """
    check_length(declared, max_bytes)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        assert isinstance(part, bytes)
        size += len(part)
        if size > max_bytes:
            raise body_too_large(max_bytes)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def check_length(declared: bytes | None, max_bytes: int) -> None:
    """Refuse a body by what its head announces.

    Raises:
        PayloadTooLargeError: It is more than `max_bytes`.
    """
    if declared is not None and _length(declared) > max_bytes:
        raise body_too_large(max_bytes)


def _length(declared: bytes) -> int:
    if not declared.isdigit():
        raise BadRequestError("The Content-Length header is not a number.")
    return int(declared)


def body_too_large(max_bytes: int) -> PayloadTooLargeError:
    """Return what a caller is told whose body has more bytes."""
    return PayloadTooLargeError(f"The body is larger than {max_bytes} bytes, the limit 'max_request_size'.")
