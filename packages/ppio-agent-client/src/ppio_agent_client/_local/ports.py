"""Ports for agents, on the loopback interface."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection

from ppio_agent_models import SandboxCreationError

from .records import read_json, write_json

FIRST_PORT = 20000
LAST_PORT = 31999
"""Below the ports that systems give to outgoing connections (Linux: from 32768, else from 49152), which could take one
between its choice and the agent's start."""
IS_RESERVABLE = sys.platform == "linux"
"""Whether an agent can listen on a port that somebody else holds for it.

On Linux a server that sets SO_REUSEADDR, as servers do, gets a port to which others with that option are bound unless
they listen (socket(7)); programs that only look for a free port do not get it. Elsewhere it would not get it either."""


def reserve_port(root: str, used: Collection[int]) -> socket.socket:
    """Return a socket bound to the next port that is neither in `used` nor taken by another program.

    The search goes on where the last one ended, so that a port comes round again as late as possible: a client of a
    sandbox that ended does not soon meet another agent there. The caller holds the home's lock, and closes the socket.

    Raises:
        SandboxCreationError: All are taken.
    """
    counter = os.path.join(root, "next-port")
    count = LAST_PORT - FIRST_PORT + 1
    start = _offset(read_json(counter))
    for step in range(count):
        offset = (start + step) % count
        port = FIRST_PORT + offset
        if port not in used and (reservation := _bound(port)):
            write_json(counter, offset + 1)
            return reservation
    raise SandboxCreationError(f"all ports from {FIRST_PORT} to {LAST_PORT} on 127.0.0.1 are taken; end some sandboxes")


def _offset(stored: object) -> int:
    # Homes begin anywhere, so that two of them seldom want the same port.
    return stored if isinstance(stored, int) else int.from_bytes(os.urandom(2), "big")


def _bound(port: int) -> socket.socket | None:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        return None
    # Only now: with the option, the port of another reservation would have seemed free.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return bound
