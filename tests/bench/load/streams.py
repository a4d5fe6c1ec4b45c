"""Reads event streams to their end over raw sockets, from one process.

Usage: streams.py PORT STREAMS REPEAT PROTOCOL PATH < body
Opens STREAMS at once; all of it REPEAT times. PROTOCOL 1 asks for protocol 1. Where the body has 13 zeros in a row,
each stream has another number there. Prints chunks, seconds, and the median time to the first event in seconds.
"""

import itertools
import selectors
import socket
import statistics
import sys
import time

NEW_SESSION = b"0" * 13
SESSIONS = itertools.count(int(time.time() * 1000))


class Stream:
    """One open stream."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.began = time.perf_counter()
        self.first = 0.0
        self.tail = b""
        self.socket.sendall(request.replace(NEW_SESSION, b"%013d" % next(SESSIONS)))

    def count(self, data: bytes) -> int:
        """Return how many events begin in `data`."""
        data = self.tail + data
        self.tail = data[-5:]
        found = data.count(b"data: ")
        if found and not self.first:
            self.first = time.perf_counter() - self.began
        return found


def main() -> None:
    """Read all of them."""
    port, streams, repeat = (int(word) for word in sys.argv[1:4])
    body = sys.stdin.buffer.read()
    protocol = "PPIO-Agent-Protocol: 1\r\n" if sys.argv[4] == "1" else ""
    head = f"POST {sys.argv[5]} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n{protocol}"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    firsts: list[float] = []
    total = 0
    began = time.perf_counter()
    for _ in range(repeat):
        with selectors.DefaultSelector() as selector:
            for _ in range(streams):
                stream = Stream(port, request)
                selector.register(stream.socket, selectors.EVENT_READ, stream)
            while selector.get_map():
                ready = selector.select(30)
                if not ready:
                    sys.exit("the streams are silent")
                for key, _ in ready:
                    data = key.data.socket.recv(1 << 18)
                    total += key.data.count(data)
                    if not data:
                        selector.unregister(key.data.socket)
                        key.data.socket.close()
                        firsts.append(key.data.first)
    sys.stdout.write(f"{total} {time.perf_counter() - began:.6f} {statistics.median(firsts):.6f}\n")


if __name__ == "__main__":
    main()
