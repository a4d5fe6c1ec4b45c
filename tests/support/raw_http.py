"""An HTTP/1.1 client over a bare socket, for what ordinary clients hide: when bytes come, and how a caller vanishes."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

LIMIT_SECONDS = 60.0
"""How long a test waits for anything before it fails. Generous: it only decides how long a failure takes."""


@dataclass
class Answer:
    """A whole answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def result(self) -> Any:
        """The result in a success envelope."""
        assert self.status == 200, self.body
        return self.json["result"]

    @property
    def events(self) -> list[Event]:
        """The body as server-sent events, without comments."""
        return [event for block in self.body.split(b"\n\n") if (event := Event.read(block)) is not None]


@dataclass
class Event:
    """One server-sent event."""

    kind: str
    data: Any
    event_id: int | None

    @staticmethod
    def read(block: bytes) -> Event | None:
        """Return the event in a block of lines, None for a comment or nothing."""
        fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if line and not line.startswith(":"))
        if not fields:
            return None
        number = fields.get("id")
        return Event(fields.get("event", "chunk"), json.loads(fields["data"]), None if number is None else int(number))


class Connection:
    """One connection to a server, driven step by step."""

    def __init__(self, url: str, *, receive_buffer_bytes: int | None = None) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self.socket = socket.socket()
        if receive_buffer_bytes is not None:  # before connecting, or the window has been announced already
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(LIMIT_SECONDS)
        try:
            self.socket.connect((address.hostname, address.port))
        except OSError:
            self.socket.close()
            raise
        self._buffer = bytearray()
        self._chunked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def post(
        self, payload: Any = None, headers: Mapping[str, str] | None = None, *, path: str = "/invocations"
    ) -> None:
        """Send a whole `POST`."""
        self.send(request(payload, headers, path=path))

    def half_close(self) -> None:
        """Say that nothing more will be sent (FIN), and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection without a word (RST)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Hang up politely (FIN)."""
        self.socket.close()

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Return status and headers of the next answer."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        self._chunked = headers.get("transfer-encoding") == "chunked"
        return int(lines[0].split(" ", 2)[1]), headers

    def read_answer(self) -> Answer:
        """Return the next answer, body and all."""
        status, headers = self.read_head()
        return Answer(status, headers, self.read_body(headers))

    def read_body(self, headers: Mapping[str, str]) -> bytes:
        """Return the body of the answer whose head was read."""
        return b"".join(self.pieces()) if self._chunked else self._exactly(int(headers.get("content-length", "0")))

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces of a chunked body as they come, to its end (RFC 9112, section 7.1)."""
        while size := int(self._until(b"\r\n"), 16):
            yield self._exactly(size)
            self._until(b"\r\n")
        self._until(b"\r\n")

    def blocks(self) -> Iterator[bytes]:
        """Yield the blank-line separated blocks of an event stream as they come, comments included."""
        rest = b""
        for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n\n")
            yield from whole
        assert not rest

    def events(self) -> Iterator[Event]:
        """Yield the events of a stream as they come, without comments."""
        for block in self.blocks():
            if (event := Event.read(block)) is not None:
                yield event

    def read_to_the_end(self) -> bytes:
        """Return everything until the server closes or breaks the connection."""
        received, self._buffer = bytes(self._buffer), bytearray()
        try:
            while data := self.socket.recv(65536):
                received += data
        except ConnectionError:
            pass
        return received

    def _until(self, mark: bytes) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            self._receive()
        found = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._receive()
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"the server hung up after {bytes(self._buffer[-200:])!r}")
        self._buffer += data


def request(payload: Any = None, headers: Mapping[str, str] | None = None, *, path: str = "/invocations") -> bytes:
    """Return the bytes of a whole `POST`."""
    body = json.dumps({} if payload is None else payload).encode()
    own = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = own | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def invoke(url: str, payload: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """Post a payload on a new connection and return the whole answer."""
    with Connection(url) as connection:
        connection.post(payload, headers)
        return connection.read_answer()


def get(url: str, path: str) -> Answer:
    """Return the whole answer to a GET on a new connection."""
    with Connection(url) as connection:
        connection.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return connection.read_answer()


def settle(url: str, seconds: float = 0.0) -> None:
    """Return once the server has read what was sent to it before this call.

    The kernel hands it over at once, so it is ready no later than these requests, and one turn of the loop reads it.

    Args:
        seconds: Go on for so long: for what must not happen after a caller has left, which nothing announces.
    """
    end = time.monotonic() + seconds
    for _ in range(3):
        get(url, "/ping")
    while time.monotonic() < end:
        get(url, "/ping")


@contextmanager
def streaming(url: str, payload: Any = None, headers: Mapping[str, str] | None = None) -> Iterator[Connection]:
    """Post a payload, read the head of a stream, and yield the connection at the first event."""
    with Connection(url) as connection:
        connection.post(payload, headers)
        status, found = connection.read_head()
        assert status == 200, connection.read_body(found)
        assert found["content-type"].startswith("text/event-stream")
        yield connection


PROTOCOL_1 = {"PPIO-Agent-Protocol": "1"}
EVENT_STREAM = {"Accept": "text/event-stream"}
