"""The body of a request, counted as it arrives: no header is trusted about its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppio_agent_models import BadRequestError, PayloadTooLargeError

if TYPE_CHECKING:
    from ._asgi import Message, Receive


class ClientGoneError(Exception):
    """The caller hung up; there is nobody to answer. Never leaves the runtime."""


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
    message = await receive()
    return whole_body(message, max_bytes) or await read_rest(receive, message, max_bytes)


def check_length(declared: bytes | None, max_bytes: int) -> None:
    """Refuse a body by what its head announces.

    Raises:
        PayloadTooLargeError: It is more than `max_bytes`.
    """
    if declared is not None and _length(declared) > max_bytes:
        raise _too_large(max_bytes)


def whole_body(message: Message, max_bytes: int) -> bytes:
    """Return the body if it came in one message, as it mostly does; else nothing, and `read_rest` has the rest.

    Raises:
        PayloadTooLargeError: It has more than `max_bytes`.
    """
    if message["type"] != "http.request" or message.get("more_body"):
        return b""
    body: bytes = message.get("body", b"")
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


async def read_rest(receive: Receive, message: Message, max_bytes: int) -> bytes:
    """Return the body that begins with `message`. Raises as `read_body` does."""
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        assert isinstance(part, bytes)
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def _length(declared: bytes) -> int:
    if not declared.isdigit():
        raise BadRequestError("The Content-Length header is not a number.")
    return int(declared)


def _too_large(max_bytes: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"The body is larger than {max_bytes} bytes, the limit 'max_request_size'.")
