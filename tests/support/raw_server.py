"""A server that answers byte for byte what a test says, and breaks where a test says. It listens on a real socket."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

HEAD_END = b"\r\n\r\n"


@dataclass
class RawRequest:
    """A request as it arrived; header names are lower-case."""

    line: str
    headers: dict[str, str]
    body: bytes


class Caller:
    """The other end of one connection."""

    def __init__(self, connection: socket.socket, server: RawServer) -> None:
        self._connection = connection
        self._server = server
        self._buffer = b""

    def read_request(self) -> RawRequest:
        """Return the next request, body and all."""
        head, self._buffer = self._read_until(HEAD_END)
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines if each)}
        length = int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            self._buffer += self._receive()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        request = RawRequest(line, headers, body)
        self._server.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._connection.sendall(data)

    def wait_until_gone(self) -> None:
        """Wait until the client has closed the connection."""
        try:
            while self._connection.recv(65536):
                continue
        except ConnectionError:
            pass
        self._server.hung_up.release()

    def wait_until_told(self) -> None:
        """Wait until the test says so, without reading."""
        self._server.told.wait(timeout=60)

    def finish(self) -> None:
        """Say that nothing more will come (FIN)."""
        self._connection.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection without a word (RST)."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def _read_until(self, mark: bytes) -> tuple[bytes, bytes]:
        while mark not in self._buffer:
            self._buffer += self._receive()
        head, _, rest = self._buffer.partition(mark)
        return head, rest

    def _receive(self) -> bytes:
        data = self._connection.recv(65536)
        if not data:
            raise ConnectionError("the client hung up")
        return data


Script = Callable[[Caller], None]


@dataclass
class RawServer:
    """Where it listens and what it has seen."""

    url: str
    requests: list[RawRequest] = field(default_factory=list)
    hung_up: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    closed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    told: threading.Event = field(default_factory=threading.Event)
    connections: int = 0


@contextmanager
def raw_server(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Serve each connection by its script, all further ones by the last. A script's end closes its connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = RawServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
    threads: list[threading.Thread] = []
    open_connections: list[socket.socket] = []

    def serve(connection: socket.socket, script: Script) -> None:
        with connection:
            try:
                with connection if tls is None else tls.wrap_socket(connection, server_side=True) as spoken_to:
                    open_connections.append(spoken_to)
                    script(Caller(spoken_to, server))
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            script = scripts[min(server.connections, len(scripts) - 1)]
            server.connections += 1
            threads.append(threading.Thread(target=serve, args=(connection, script)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        for connection in open_connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in threads:
            thread.join()


@contextmanager
def closed_port() -> Iterator[str]:
    """Yield an address where nobody listens, and nobody else can begin to."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


def answer(body: bytes = b"", status: str = "200 OK", headers: Mapping[str, str] | None = None) -> bytes:
    """Return a whole answer with a JSON body."""
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    return head(lines, status) + body


def head(headers: Mapping[str, str], status: str = "200 OK") -> bytes:
    """Return the head of an answer."""
    return "\r\n".join(
        [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    ).encode()


def stream_head(*, numbered: bool = True, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the head of an event stream that comes in chunks."""
    protocol = {"PPIO-Agent-Protocol": "1"} if numbered else {}
    return head({"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", **protocol, **(headers or {})})


def piece(data: bytes) -> bytes:
    """Return one chunk of a body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_PIECE = b"0\r\n\r\n"
OK = answer(b'{"result":42,"status":"success","duration":0.5}')
"""What an agent says whose result is 42."""


def refusal(
    kind: str = "UnavailableError", status: str = "503 Service Unavailable", retry_after: str = "as soon as you like"
) -> bytes:
    """Return what an agent says that begins nothing now; the pause that it asks for is no number unless given."""
    body = b'{"result":null,"status":"error","error":"because","error_type":"%b"}' % kind.encode()
    return answer(body, status, {"PPIO-Agent-Protocol": "1", "Retry-After": retry_after})


def keeping(caller: Caller) -> None:
    """Say 42 to one request after another until the client hangs up, and say so."""
    try:
        while True:
            caller.read_request()
            caller.send(OK)
    except ConnectionError:
        caller.wait_until_gone()


def answering(*answers: bytes) -> Script:
    """Return a script that gives one answer per request, on whichever connection, the last one again and again."""
    left = list(answers)

    def script(caller: Caller) -> None:
        while True:
            caller.read_request()
            caller.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def sending(*parts: bytes, then: Callable[[Caller], None] = Caller.wait_until_gone) -> Script:
    """Return a script that reads one request, sends parts, and then does something: waits for the client to leave."""

    def script(caller: Caller) -> None:
        caller.read_request()
        for part in parts:
            caller.send(part)
        then(caller)

    return script


def hang_up(caller: Caller) -> None:
    """Close the connection politely (FIN)."""
