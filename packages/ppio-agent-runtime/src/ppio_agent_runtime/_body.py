"""The body of a request, counted as it arrives: no header is trusted about its size."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ppio_agent_models import BadRequestError, PayloadTooLargeError, RequestReadTimeoutError

if TYPE_CHECKING:
    from ._asgi import Message, Receive


class ClientGoneError(Exception):
    """The caller hung up; there is nobody to answer. Never leaves the runtime."""


async def read_body(receive: Receive, declared: bytes | None, max_bytes: int, timeout_seconds: float) -> bytes:
    """Return the whole body.

    Args:
        declared: The `Content-Length` header, used only to refuse early.

    Raises:
        PayloadTooLargeError: More than `max_bytes` arrived or were announced.
        RequestReadTimeoutError: It took longer than `timeout_seconds`.
        ClientGoneError: The caller hung up meanwhile.
    """
    if declared is not None and _length(declared) > max_bytes:
        raise _too_large(max_bytes)
    with _ReadLimit(timeout_seconds):
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
            return body
        return await _read_rest(receive, message, max_bytes)


async def _read_rest(receive: Receive, message: Message, max_bytes: int) -> bytes:
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


class _ReadLimit:
    """`asyncio.timeout` for a wait that is nearly always over at once: the timer is only made when it is not."""

    __slots__ = ("_expired", "_handle", "_seconds", "_task")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._handle: asyncio.Handle = asyncio.get_running_loop().call_soon(self._arm)

    def _arm(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._handle.cancel()
        if self._expired and kind is asyncio.CancelledError and self._task.uncancel() == 0:
            raise RequestReadTimeoutError(
                f"The body did not arrive within {self._seconds:g} s, the limit 'request_read_timeout_seconds'."
            ) from None
