"""What is taken from processes that handlers fork: the signal handlers of the server and its sockets.

A child that kept them would survive SIGTERM, hold the port after the agent's end, and keep callers waiting for the end
of a connection that the agent has closed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

_running: list[tuple[Callable[..., None], Callable[[], Iterable[int]]]] = []


@contextmanager
def released_in_children(handler: Callable[..., None], descriptors: Callable[[], Iterable[int]]) -> Iterator[None]:
    """Take a server's signal handler and sockets from all children that are forked within the block.

    Args:
        handler: Of SIGTERM and SIGINT, if it is installed.
        descriptors: Returns the file descriptors of the sockets.
    """
    _register()
    _running.append((handler, descriptors))
    try:
        yield
    finally:
        _running.remove((handler, descriptors))


@cache
def _register() -> None:
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_release)


def _release() -> None:
    if not _running:
        return
    for number, default in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) in [handler for handler, _ in _running]:
            signal.signal(number, default)
    # Replaced, not closed: objects that the child no longer uses still have these descriptors.
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in [each for _, descriptors in _running for each in descriptors()]:
        with suppress(OSError):  # it is closed
            os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    _running.clear()
