"""The streams of envd: Connect RPC with JSON messages, each behind a byte of flags and its length.

The protocol is https://connectrpc.com/docs/protocol, section Streaming Request. Bytes come in pieces of any size.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any, Final

from .. import json_codec

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Far more than envd sends at once; a longer message isn't one of its."""
MAX_OUTPUT_BYTES: Final = 16 * 1024
"""The last of a process's output that is kept."""
_HEAD: Final = struct.Struct(">BI")
_COMPRESSED: Final = 0b01
_END: Final = 0b10
_SIGNALS: Final = {"hangup": 1, "interrupt": 2, "aborted": 6, "killed": 9, "segmentation fault": 11, "terminated": 15}
"""Signals as Go calls them."""


class FrameError(ValueError):
    """The bytes aren't such a stream."""


def encode_frame(message: object, *, is_end: bool = False) -> bytes:
    """Return one message as it travels."""
    body = json_codec.dump(message)
    return _HEAD.pack(_END if is_end else 0, len(body)) + body


class FrameReader:
    """Puts pieces of a stream together."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, piece: bytes) -> Iterator[tuple[dict[str, Any], bool]]:
        """Yield every message that `piece` completes, and whether it closes the stream and tells how that went.

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
            yield _json_object(body), bool(flags & _END)


class ProcessReport:
    """What a process printed and how it ended, as far as the frames of `process.Process/Start` have told.

    Attributes:
        exit_code: Or minus the signal that ended it; None while it runs, or where nobody says.
        is_closed: Whether the stream is over.
        error: What went wrong with the stream; empty when nothing did.
    """

    def __init__(self) -> None:
        self.has_started = self.has_ended = self.is_closed = False
        self.exit_code: int | None = None
        self.error = ""
        self._frames = FrameReader()
        self._printed = bytearray()

    @property
    def is_known(self) -> bool:
        """Whether the stream has said that the process runs, or why it doesn't."""
        return self.has_started or self.has_ended or self.is_closed

    @property
    def output(self) -> str:
        """The last of what it printed, to either stream."""
        return self._printed.decode("utf-8", "replace")

    def feed(self, piece: bytes) -> None:
        """Take in a piece of the stream.

        Raises:
            FrameError: It isn't such a stream.
        """
        for message, is_end in self._frames.feed(piece):
            if is_end:
                self.is_closed = True
                self.error = error_text(message["error"]) if isinstance(message.get("error"), dict) else ""
            elif isinstance(event := message.get("event"), dict):
                self._update(event)

    def _update(self, event: dict[str, Any]) -> None:
        if isinstance(event.get("start"), dict):
            self.has_started = True
        elif isinstance(data := event.get("data"), dict):
            self._printed += b"".join(_decoded(data.get(stream)) for stream in ("stdout", "stderr", "pty"))
            del self._printed[:-MAX_OUTPUT_BYTES]
        elif isinstance(end := event.get("end"), dict):
            self.has_ended = True
            self.exit_code = _exit_code(end)


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


def _decoded(encoded: object) -> bytes:
    if not isinstance(encoded, str):
        return b""
    try:
        return base64.b64decode(encoded)
    except ValueError:
        return encoded.encode("utf-8", "replace")


def _exit_code(end: dict[str, Any]) -> int | None:
    status = end.get("status") or end.get("error")
    for words, number in _SIGNALS.items():
        if isinstance(status, str) and status.startswith(f"signal: {words}"):
            return -number
    # proto3's JSON leaves out a field that is zero.
    code = end.get("exitCode", 0 if end.get("exited") else None)
    return code if isinstance(code, int) and not isinstance(code, bool) and code >= 0 else None
