"""A server that costs nothing: answers every POST with the same ready-made events, so that only clients are measured.

Usage: events.py PORT COUNT framed|coalesced: each event in an HTTP chunk of its own, or 16 KB of them in each.
"""

import socket
import sys
import threading

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
    b"PPIO-Agent-Protocol: 1\r\nX-PPIO-Request-Id: r-1\r\nX-PPIO-Invocation-Id: i-1\r\n\r\n"
)
PING = b'{"status":"Healthy","time_of_last_update":1700000000}'
DONE = b'{"status":"success","duration":0.1,"metadata":{"request_id":"r-1"},"error":null,"error_type":null}'


def stream(count: int, framing: str) -> bytes:
    """Return the whole body."""
    events = [b'id: %d\ndata: {"i":%d,"token":"hello"}\n\n' % (i, i) for i in range(1, count + 1)]
    events.append(b"id: %d\nevent: done\ndata: %b\n\n" % (count + 1, DONE))
    if framing == "coalesced":
        whole = b"".join(events)
        events = [whole[start : start + 16384] for start in range(0, len(whole), 16384)]
    return b"".join([b"%x\r\n%b\r\n" % (len(part), part) for part in events]) + b"0\r\n\r\n"


def serve(connection: socket.socket, body: bytes) -> None:
    """Answer one request."""
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            if not (part := connection.recv(65536)):
                return
            request += part
        if request.startswith(b"GET"):
            pong = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
            connection.sendall(pong % (len(PING), PING))
            return
        head, _, rest = request.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(rest) < length:
            rest += connection.recv(65536)
        connection.sendall(HEAD + body)


def main() -> None:
    """Serve until killed."""
    body = stream(int(sys.argv[2]), sys.argv[3])
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=256)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, body), daemon=True).start()


if __name__ == "__main__":
    main()
