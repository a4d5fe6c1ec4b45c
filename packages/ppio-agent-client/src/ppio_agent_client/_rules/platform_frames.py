"""The frames of envd's streams: Connect RPC with JSON messages, each behind a byte of flags and its length.

The protocol is https://connectrpc.com/docs/protocol, section Streaming Request. Bytes come in pieces of any size.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from . import json_codec

_HEAD: Final = struct.Struct(">BI")
_COMPRESSED: Final = 0b01
_END: Final = 0b10
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Far more than envd sends at once; a longer message is no message of its."""


class FrameError(ValueError):
    """The bytes are no such stream."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Attributes:
        value: The decoded JSON object.
        is_end: Whether it closes the stream and tells how that went.
    """

    value: dict[str, Any]
    is_end: bool = False


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """The process runs."""

    pid: int


@dataclass(frozen=True, slots=True)
class ProcessOutput:
    """Something that the process printed, to either stream."""

    text: bytes


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """The process is over. `exit_code` is None where envd does not say it; `status` is its own sentence."""

    exit_code: int | None
    status: str


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The stream is over; `error` says what went wrong, empty when nothing did."""

    error: str


ProcessEvent = ProcessStarted | ProcessOutput | ProcessEnded | StreamClosed


def framed(message: object, *, is_end: bool = False) -> bytes:
    """Return one message as it travels."""
    body = json_codec.dump(message)
    return _HEAD.pack(_END if is_end else 0, len(body)) + body


class FrameReader:
    """Puts pieces of a stream together."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Yield every message that `piece` completes.

        Raises:
            FrameError: It is no such stream.
        """
        self._pending += piece
        while len(self._pending) >= _HEAD.size:
            flags, length = _HEAD.unpack_from(self._pending)
            if flags & _COMPRESSED or length > MAX_MESSAGE_BYTES:
                raise FrameError(f"envd sent a frame with flags {flags} and {length} bytes, which cannot be read")
            if len(self._pending) < _HEAD.size + length:
                return
            body = bytes(self._pending[_HEAD.size : _HEAD.size + length])
            del self._pending[: _HEAD.size + length]
            yield Frame(_object(body), bool(flags & _END))

    @property
    def is_between(self) -> bool:
        """Whether no message is half read."""
        return not self._pending


def process_event(frame: Frame) -> ProcessEvent | None:
    """Return what a message of `process.Process/Start` says; None for one that only keeps the stream alive."""
    if frame.is_end:
        error = frame.value.get("error")
        return StreamClosed(error_text(error) if isinstance(error, dict) else "")
    event = frame.value.get("event")
    if not isinstance(event, dict):
        return None
    if isinstance(started := event.get("start"), dict):
        return ProcessStarted(_whole(started.get("pid")) or 0)
    if isinstance(printed := event.get("data"), dict):
        return ProcessOutput(_printed(printed))
    if isinstance(ended := event.get("end"), dict):
        status = ended.get("status") or ended.get("error")
        # proto3's JSON leaves out a field that is zero.
        code = _whole(ended.get("exitCode", 0 if ended.get("exited") else None))
        return ProcessEnded(code, status if isinstance(status, str) else "")
    return None


def error_text(error: dict[str, Any]) -> str:
    """Return a Connect error as words."""
    words = [error.get("code"), error.get("message")]
    return ": ".join(word for word in words if isinstance(word, str) and word) or "no reason given"


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json_codec.load(body)
    except ValueError as error:
        raise FrameError("envd sent a frame that is not JSON") from error
    if not isinstance(value, dict):
        raise FrameError("envd sent a frame that is no JSON object")
    return value


def _printed(printed: dict[str, Any]) -> bytes:
    text = b""
    for stream in ("stdout", "stderr", "pty"):
        encoded = printed.get(stream)
        if isinstance(encoded, str):
            try:
                text += base64.b64decode(encoded)
            except binascii.Error:
                text += encoded.encode("utf-8", "replace")
    return text


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
