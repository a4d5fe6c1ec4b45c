"""The streams of envd: Connect RPC with JSON messages, each behind a byte of flags and its length.

The protocol is https://connectrpc.com/docs/protocol, section Streaming Request. Bytes come in pieces of any size.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ..._rules import json_codec

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Far more than envd sends at once; a longer message isn't one of its."""
MAX_OUTPUT_BYTES: Final = 16 * 1024
"""The last of a process's output that is kept."""
_HEAD: Final = struct.Struct(">BI")
_COMPRESSED: Final = 0b01
_END: Final = 0b10
_SIGNALS: Final = {
    "hangup": 1,
    "interrupt": 2,
    "aborted": 6,
    "killed": 9,
    "segmentation fault": 11,
    "terminated": 15,
}
"""Signals as Go calls them."""


class FrameError(ValueError):
    """The bytes aren't such a stream."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Attributes:
        value: The decoded JSON object.
        is_end: Whether it closes the stream and tells how that went.
    """

    value: dict[str, Any]
    is_end: bool = False


def encode_frame(message: object, *, is_end: bool = False) -> bytes:
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
            FrameError: It isn't such a stream.
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
            yield Frame(_json_object(body), bool(flags & _END))


class ProcessReport:
    """What a process printed and how it ended, as far as the frames of `process.Process/Start` have told.

    Attributes:
        has_started: Whether it runs, or has run.
        has_ended: Whether it is over.
        exit_code: Its exit code, or minus the signal that ended it; None while it runs, or where nobody says.
        is_closed: Whether the stream is over.
        error: What went wrong with the stream; empty when nothing did.
    """

    def __init__(self) -> None:
        self.has_started = self.has_ended = self.is_closed = False
        self.exit_code: int | None = None
        self.error = ""
        self._printed = bytearray()

    @property
    def is_known(self) -> bool:
        """Whether the stream has said that the process runs, or why it doesn't."""
        return self.has_started or self.has_ended or self.is_closed

    @property
    def output(self) -> str:
        """The last of what it printed, to either stream."""
        return self._printed.decode("utf-8", "replace")

    def update(self, frame: Frame) -> None:
        """Take in one message; one that only keeps the stream alive changes nothing."""
        if frame.is_end:
            self.is_closed = True
            error = frame.value.get("error")
            self.error = error_text(error) if isinstance(error, dict) else ""
            return
        event = _object(frame.value, "event")
        if isinstance(event.get("start"), dict):
            self.has_started = True
        elif isinstance(event.get("data"), dict):
            self._printed += _printed(event["data"])
            del self._printed[:-MAX_OUTPUT_BYTES]
        elif isinstance(event.get("end"), dict):
            self.has_ended = True
            self.exit_code = _exit_code(event["end"])


def error_text(error: dict[str, Any]) -> str:
    """Return a Connect error as words."""
    words = [error.get("code"), error.get("message")]
    return ": ".join(word for word in words if isinstance(word, str) and word) or "no reason given"


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json_codec.load(body)
    except ValueError as error:
        raise FrameError("envd sent a frame that is not JSON") from error
    if not isinstance(value, dict):
        raise FrameError("envd sent a frame that is not a JSON object")
    return value


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _printed(data: dict[str, Any]) -> bytes:
    printed = b""
    for encoded in (data.get("stdout"), data.get("stderr"), data.get("pty")):
        if isinstance(encoded, str):
            try:
                printed += base64.b64decode(encoded)
            except ValueError:  # not base64
                printed += encoded.encode("utf-8", "replace")
    return printed


def _exit_code(end: dict[str, Any]) -> int | None:
    status = end.get("status") or end.get("error")
    for words, number in _SIGNALS.items():
        if isinstance(status, str) and status.startswith(f"signal: {words}"):
            return -number
    # proto3's JSON leaves out a field that is zero.
    code = end.get("exitCode", 0 if end.get("exited") else None)
    return code if isinstance(code, int) and not isinstance(code, bool) and code >= 0 else None
