"""Clocks, random numbers, locks, threads, tasks and TLS: what cannot be pure.

`_async` and `_sync` are the only pair written by hand: the same names with the same meaning, so that the generated twin
only swaps the import. Here is what both share.
"""

from __future__ import annotations

import functools
import os
import random
import secrets
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

from ppio_agent_models import ConfigurationError

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

now = time.monotonic
"""Seconds on a clock that never jumps, for limits and pauses."""
unix_now = time.time
"""Seconds since 1970, for dates on the wire."""


def chance() -> float:
    """Return a random number in [0, 1), for jitter; nothing secret depends on it."""
    return random.random()  # noqa: S311  # jitter is no secret


def key() -> str:
    """Return 32 characters that nobody gets twice."""
    return os.urandom(16).hex()


def nonce() -> str:
    """Return 22 characters that nobody can guess and nobody gets twice."""
    return secrets.token_urlsafe(16)


class AbandonedError(Exception):
    """Who did the work was stopped; somebody else has to do it."""


class SharedWork(Generic[T]):
    """Knows the work that is under way, if some is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Future[T] | None = None

    @property
    def is_running(self) -> bool:
        """Whether somebody does the work right now."""
        return self._running is not None

    def join(self) -> tuple[Future[T], bool]:
        """Return the result to come, and whether the caller is the first to want it: then the work is the caller's."""
        with self._lock:
            if self._running is not None:
                return self._running, False
            self._running = Future()
            self._running.set_running_or_notify_cancel()  # who stops waiting does not cancel it
            return self._running, True

    def set_result(self, future: Future[T], result: T) -> T:
        """Give the result to all who wait for it."""
        self._clear()
        future.set_result(result)
        return result

    def set_exception(self, future: Future[T], error: BaseException) -> None:
        """Raise in all who wait what went wrong; where only the worker was stopped, another takes over."""
        self._clear()
        future.set_exception(error if isinstance(error, Exception) else AbandonedError())

    def _clear(self) -> None:
        with self._lock:
            self._running = None


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the one TLS context of this process; reading the certificates takes 17 ms.

    Trusted is what `SSL_CERT_FILE` or `SSL_CERT_DIR` names, as in httpx, else the authorities of certifi.

    Raises:
        ConfigurationError: They lead nowhere.
    """
    import ssl  # only who calls over https needs it

    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        import certifi

        file = certifi.where()
    elif not file and folder and not os.path.isdir(folder):  # noqa: PTH112  # pathlib delays each start
        raise ConfigurationError(f"SSL_CERT_DIR is {folder!r}, and there is no such directory")
    try:
        return ssl.create_default_context(cafile=file or None, capath=None if file else folder)
    except OSError as error:
        raise ConfigurationError(f"SSL_CERT_FILE is {file!r}, where no certificates can be read: {error}") from error
