"""Reads many live streams over raw sockets, from one process, and says how late their events are.

Usage: live.py PORT STREAMS SECONDS PROTOCOL. Each stream has 50 events a second, each with the time at which it is due.
PROTOCOL 1 asks for protocol 1. Prints the p99 of how late an event arrived, in milliseconds, and how many arrived.
"""

import json
import re
import resource
import selectors
import socket
import sys
import time

PAUSE_SECONDS = 0.02
DUE = re.compile(rb'"due":([0-9.]+)')


def main() -> None:
    """Open all of them, spread over one pause, and read to their ends."""
    port, streams, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    body = json.dumps({"prompt": "x", "count": int(seconds / PAUSE_SECONDS), "pause": PAUSE_SECONDS}).encode()
    protocol = "PPIO-Agent-Protocol: 1\r\n" if sys.argv[4] == "1" else ""
    head = f"POST /invocations HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n{protocol}"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    late: list[float] = []
    with selectors.DefaultSelector() as selector:
        for _ in range(streams):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ, connection)
        settled = time.time() + 1  # while all of them are opened, nobody is in time
        while selector.get_map():
            ready = selector.select(30)
            if not ready:
                sys.exit("the streams are silent")
            now = time.time()
            for key, _ in ready:
                data = key.data.recv(1 << 16)
                if now > settled:
                    late.extend(now - float(due) for due in DUE.findall(data))
                if not data:
                    selector.unregister(key.data)
                    key.data.close()
    late.sort()
    sys.stdout.write(f"{late[int(len(late) * 0.99)] * 1000} {len(late)}\n")


if __name__ == "__main__":
    main()
