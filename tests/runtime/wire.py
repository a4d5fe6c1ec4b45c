"""A caller made of the standard library, for tests that talk to a real server."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ppio_agent_runtime import PPIOAgentRuntimeApp, PPIOAgentRuntimeServer

WAIT_SECONDS = 30.0
"""How long a test waits for something before it gives up: never reached unless it is broken."""


@dataclass(frozen=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def request(
    url: str, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request on a connection of its own."""
    with closing(http.client.HTTPConnection(*address(url), timeout=WAIT_SECONDS)) as connection:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def post(url: str, payload: Any = None, *, session: str | None = None, **headers: str) -> Answer:
    """Invoke the agent; header names are written with underscores."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if session is not None:
        given["X-PPIO-Session-Id"] = session
    return request(url, "POST", "/invocations", json.dumps(payload or {}).encode(), given)


def metric(url: str, name: str) -> float:
    """Return a number of `/metrics`, without labels or with those in `name`."""
    page = request(url, "GET", "/metrics").body.decode()
    return next(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.rpartition(" ")[0] == name)


@contextmanager
def serving(app: PPIOAgentRuntimeApp) -> Iterator[tuple[str, PPIOAgentRuntimeServer]]:
    """Like `ppio_agent_runtime.testing.running`, with the server, so that a test can stop it itself."""
    server = PPIOAgentRuntimeServer(app, port=0, host="127.0.0.1")
    server.bind()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}", server
    finally:
        server.stop()
        thread.join()


def in_background(call: Callable[..., Answer], *args: Any, **kwargs: Any) -> Future[Answer]:
    """Start a call in a thread of its own."""
    future: Future[Answer] = Future()

    def work() -> None:
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # raised again by result()
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


def connect(url: str) -> socket.socket:
    return socket.create_connection(address(url), timeout=WAIT_SECONDS)


def send_post(connection: socket.socket, payload: Any = None, *, session: str | None = None, accept: str = "") -> None:
    """Send an invocation and leave its answer unread."""
    body = json.dumps(payload or {}).encode()
    head = f"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: {len(body)}\r\n"
    if session is not None:
        head += f"X-PPIO-Session-Id: {session}\r\n"
    if accept:
        head += f"Accept: {accept}\r\n"
    connection.sendall(head.encode() + b"\r\n" + body)


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    """Return what arrives, up to `mark` and what came along with it."""
    got = b""
    while mark not in got:
        part = connection.recv(65536)
        assert part, f"the connection was closed after {got!r}"
        got += part
    return got


def read_to_end(connection: socket.socket) -> bytes:
    """Return what arrives until the server closes the connection, gracefully or not."""
    got = b""
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            return got
        if not part:
            return got
        got += part
