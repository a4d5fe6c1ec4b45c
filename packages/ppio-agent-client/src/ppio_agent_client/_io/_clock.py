"""The clocks, the die and the nonces, which both sides share."""

from __future__ import annotations

import os
import random
import secrets
import time

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
