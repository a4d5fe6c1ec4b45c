"""Clocks, random numbers, locks, threads, tasks and TLS: everything with side effects.

`_async` and `_sync` are the only pair written by hand. They have the same names with the same meaning, so that the
generated twins only swap the import. This module has what both share.
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
    """Return a random number in [0, 1), for jitter, not for secrets."""
    return random.random()  # noqa: S311  # jitter is no secret


def key() -> str:
    """Return a unique key of 32 characters."""
    return os.urandom(16).hex()


def nonce() -> str:
    """Return an unguessable, unique nonce of 22 characters."""
    return secrets.token_urlsafe(16)


class AbandonedError(Exception):
    """The caller that did the work was stopped; another one has to do it."""


class SharedWork(Generic[T]):
    """Tracks work whose result several callers share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Future[T] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the work is in progress."""
        return self._running is not None

    def join(self) -> tuple[Future[T], bool]:
        """Return a future for the result, and whether this caller is the first and so has to do the work."""
        with self._lock:
            if self._running is not None:
                return self._running, False
            self._running = Future()
            self._running.set_running_or_notify_cancel()  # so that a waiter can't cancel it
            return self._running, True

    def set_result(self, future: Future[T], result: T) -> T:
        """Set the result for all waiters."""
        self._clear()
        future.set_result(result)
        return result

    def set_exception(self, future: Future[T], error: BaseException) -> None:
        """Set the error for all waiters; if only the worker was stopped, another one takes over."""
        self._clear()
        future.set_exception(error if isinstance(error, Exception) else AbandonedError())

    def _clear(self) -> None:
        with self._lock:
            self._running = None


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context of this process, cached because reading the certificates takes 17 ms.

    It trusts the certificates in `SSL_CERT_FILE` or `SSL_CERT_DIR`, as in httpx, else those of certifi.

    Raises:
        ConfigurationError: The file or folder does not exist, or has no certificates.
    """
    import ssl  # only needed for https

    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        import certifi

        file = certifi.where()
    elif not file and folder and not any(map(os.path.isdir, folder.split(os.pathsep))):
        raise ConfigurationError(f"SSL_CERT_DIR is {folder!r}, which is not a directory")
    try:
        return ssl.create_default_context(cafile=file or None, capath=None if file else folder)
    except OSError as error:
        if (log := os.environ.get("SSLKEYLOGFILE")) and error.filename == log:
            raise ConfigurationError(f"cannot write to {log!r} (SSLKEYLOGFILE): {error.strerror}") from error
        raise ConfigurationError(f"cannot read certificates from {file!r} (SSL_CERT_FILE): {error}") from error
