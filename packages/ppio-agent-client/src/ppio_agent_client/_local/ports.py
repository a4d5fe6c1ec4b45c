"""Ports for agents, on the loopback interface."""

from __future__ import annotations

import os
from collections.abc import Collection

from ppio_agent_models import SandboxCreationError

from .records import read_json, write_json

FIRST_PORT = 20000
LAST_PORT = 31999
"""Below the ports that systems give to outgoing connections (Linux: from 32768, else from 49152), which could take one
between its choice and the agent's start."""


def choose_port(root: str, used: Collection[int]) -> int:
    """Return the next port that is neither in `used` nor taken by another program.

    The search goes on where the last one ended, so that a port comes round again as late as possible: a client of a
    sandbox that ended does not soon meet another agent there. The caller holds the home's lock.

    Raises:
        SandboxCreationError: All are taken.
    """
    counter = os.path.join(root, "next-port")
    count = LAST_PORT - FIRST_PORT + 1
    start = _offset(read_json(counter))
    for step in range(count):
        offset = (start + step) % count
        port = FIRST_PORT + offset
        if port not in used and _is_free(port):
            write_json(counter, offset + 1)
            return port
    raise SandboxCreationError(f"all ports from {FIRST_PORT} to {LAST_PORT} on 127.0.0.1 are taken; end some sandboxes")


def _offset(stored: object) -> int:
    return stored if isinstance(stored, int) else os.getpid()


def _is_free(port: int) -> bool:
    import socket  # A tenth of this room's import time; only a new sandbox needs it.

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Without SO_REUSEADDR: a listener on all interfaces counts as taken too.
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
