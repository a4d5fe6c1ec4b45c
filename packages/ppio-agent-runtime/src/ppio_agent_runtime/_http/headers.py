"""Request headers by name, and the request id among them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ppio_agent_models import AGENTCORE_REQUEST_ID_HEADER, REQUEST_ID_HEADER

if TYPE_CHECKING:
    from .._asgi import Headers

KEY_ID = "ppio_agent.key_id"
"""Where in the scope the access layer notes which key opened the door."""
_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()
_AWS_REQUEST_ID = AGENTCORE_REQUEST_ID_HEADER.lower().encode()
_LISTS = frozenset({b"accept", b"prefer"})
"""Headers whose value is a list, which may come in several lines."""
_SAFE_ID = re.compile(rb"[!#-\[\]-~]{1,256}")
"""Visible ASCII without quote and backslash: goes into headers, JSON and logs as it is (RFC 9110, section 5.5)."""


def given_request_id(found: dict[bytes, bytes]) -> str | None:
    """Return the caller's request id when it is safe to repeat."""
    given = found.get(_REQUEST_ID) or found.get(b"x-request-id") or found.get(_AWS_REQUEST_ID)
    return given.decode() if given is not None and _SAFE_ID.fullmatch(given) else None


def request_id_of(found: dict[bytes, bytes]) -> str:
    """Return the caller's request id when it is safe to repeat, else a new one of 32 hex digits."""
    return given_request_id(found) or os.urandom(16).hex()


def by_name(headers: Headers) -> dict[bytes, bytes]:
    """Return request headers by name; of repeated ones the last, lists as a whole (RFC 9110, section 5.3)."""
    found = dict(headers)
    if len(found) < len(headers):
        for name in _LISTS.intersection(found):
            found[name] = b", ".join([value for each, value in headers if each == name])
    return found
