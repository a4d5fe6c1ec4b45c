"""A TCP relay in front of an agent, whose connections can be cut all at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Relay:
    """Where it listens, as `url`; `cut` ends every connection that there is."""

    def __init__(self, target: str) -> None:
        address = urlsplit(target)
        self._target = (address.hostname or "", address.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def accept(self) -> None:
        """Serve until `close`."""
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            agent = socket.create_connection(self._target)
            for pair in ((caller, agent), (agent, caller)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with self._lock:
            self._open.add(source)
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()


@contextmanager
def relay_to(target: str) -> Iterator[Relay]:
    """Yield a relay to the agent at `target`."""
    relay = Relay(target)
    thread = threading.Thread(target=relay.accept, name="relay")
    thread.start()
    try:
        yield relay
    finally:
        relay.close()
        thread.join()
