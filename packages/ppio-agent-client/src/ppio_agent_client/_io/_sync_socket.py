"""A connection as bytes in and out, for threads."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from contextlib import suppress
from typing import Final

from ._clock import now
from ._network import is_expiry, is_readable, until_writable

PIECE_BYTES: Final = 64 * 1024


class Socket:
    """One connection. Made by `connect`; one reader at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._process = os.getpid()
        self._in_use = threading.Lock()
        self._closed_here = False
        self._broken = False

    def send(self, data: bytes, seconds: float | None) -> None:
        """Send bytes; what the other side does not want any more is not sent: its answer says why.

        Raises:
            TimeoutError: Nothing moved for `seconds`.
        """
        with self._in_use:
            try:
                self._send(memoryview(data), seconds)
            except OSError as error:
                if is_expiry(error):
                    raise
                self._broken = True

    def receive(self, seconds: float | None) -> bytes:
        """Return what has arrived, at least a byte; nothing at the end.

        Raises:
            TimeoutError: Nothing came for `seconds`.
            OSError: The connection broke, or was closed here.
        """
        with self._in_use:
            if not self._closed_here:
                self._connection.settimeout(seconds)
                data = self._connection.recv(PIECE_BYTES)
                if data or not self._closed_here:
                    return data
        raise ConnectionAbortedError("it was closed here")

    def _send(self, rest: memoryview, seconds: float | None) -> None:
        if self._closed_here:
            return  # whoever reads the answer is told
        self._connection.settimeout(seconds)
        while rest:
            rest = rest[self._connection.send(rest[:PIECE_BYTES]) :]
            if rest and not self._is_wanted(seconds):
                self._broken = True
                return

    def _is_wanted(self, seconds: float | None) -> bool:
        """Wait until more can be sent; tell whether the other side does not answer already."""
        if isinstance(self._connection, ssl.SSLSocket):
            return True  # what arrives under TLS may be TLS's own
        return until_writable(self._connection.fileno(), seconds)

    def is_fit(self) -> bool:
        """Tell whether it can carry another call: nobody has closed it, and nothing waits that nobody asked for."""
        with self._in_use:
            return not (self._closed_here or self._broken or is_readable(self._connection.fileno()))

    def close(self) -> None:
        """Close it at once. Whoever reads is told."""
        self._closed_here = True
        if self._process != os.getpid():
            self._connection.close()  # it belongs to the process that this one was forked from, and lives on there
            return
        with suppress(OSError):  # the other side was faster
            # Not the method of a TLS socket: that takes the TLS away first, and another thread would send in the clear.
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)
        with self._in_use:  # a descriptor that is still read from must not become another connection's
            self._connection.close()


class Gate:
    """Lets so many connections be in use at once."""

    def __init__(self, places: int) -> None:
        self._places = threading.Semaphore(places)

    def enter_at_once(self) -> bool:
        """Take a place, if one is free."""
        return self._places.acquire(blocking=False)

    def enter(self, seconds: float | None) -> None:
        """Take a place.

        Raises:
            TimeoutError: None was free for `seconds`.
        """
        if not self._places.acquire(timeout=seconds):
            raise TimeoutError("every place is taken")

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()


def connect(host: str, port: int, tls: ssl.SSLContext | None, seconds: float | None) -> Socket:
    """Return a connection.

    Raises:
        TimeoutError: There was none within `seconds`.
        OSError: There is none to be had, or no safe one.
    """
    began = now()
    plain = socket.create_connection((host, port), seconds)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is None:
            return Socket(plain)
        plain.settimeout(None if seconds is None else max(seconds - (now() - began), 0.001))
        return Socket(tls.wrap_socket(plain, server_hostname=host))
    except BaseException:
        plain.close()
        raise
