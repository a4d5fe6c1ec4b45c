"""The stand-in for wrk: POSTs the body on stdin over keep-alive connections, from one process with raw sockets.

Usage: posts.py PORT CONNECTIONS SECONDS [PATH [NAME:VALUE ...]] < body
Prints requests, microseconds, p50 and p99 in microseconds, and errors.
Where the body has 13 zeros in a row, each request has another number. It needs about as much processor time as the
base server, so requests/s may be its own limit where wrk is missing.
"""

import itertools
import selectors
import socket
import sys
import time

NEW_SESSION = b"0" * 13
SESSIONS = itertools.count(int(time.time() * 1000))


class Caller:
    """One connection: sends the next request when the answer is complete."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.request = request
        self.answer = b""
        self.sent_at = 0.0
        self.send()

    def send(self) -> None:
        """Send the request."""
        self.answer = b""
        request = self.request.replace(NEW_SESSION, b"%013d" % next(SESSIONS))
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def is_answered(self) -> bool:
        """Take what has arrived and say whether the answer is complete."""
        self.answer += self.socket.recv(1 << 18)
        head, separator, body = self.answer.partition(b"\r\n\r\n")
        if not separator:
            return False
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return len(body) >= int(length) if length else body.endswith(b"0\r\n\r\n")  # chunked


def main() -> None:
    """Run until the time is up."""
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    path, *headers = sys.argv[4:] or ["/invocations"]
    body = sys.stdin.buffer.read()
    head = [
        f"POST {path} HTTP/1.1",
        *("Host: bench", "Content-Type: application/json", f"Content-Length: {len(body)}"),
        *headers,
    ]
    request = "\r\n".join([*head, "", ""]).encode() + body
    latencies: list[float] = []
    errors = 0
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            caller = Caller(port, request)
            selector.register(caller.socket, selectors.EVENT_READ, caller)
        while time.perf_counter() - began < seconds:
            for key, _ in selector.select(1):
                caller = key.data
                if caller.is_answered():
                    latencies.append(time.perf_counter() - caller.sent_at)
                    errors += not caller.answer.startswith(b"HTTP/1.1 2")
                    caller.send()
    elapsed = time.perf_counter() - began
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * share)] if latencies else 0.0 for share in (0.5, 0.99))
    sys.stdout.write(f"{len(latencies)} {elapsed * 1e6:.0f} {p50 * 1e6:.0f} {p99 * 1e6:.0f} {errors}\n")


if __name__ == "__main__":
    main()
