"""Chunks as server-sent events (WHATWG HTML, section 9.2), for callers that read every line as text.

Only `data:` lines and comments. Protocol 1 has ids and kinds of events besides: see `_records.event_blocks`.
"""

from __future__ import annotations

from typing import Final

HEARTBEAT: Final = b": keep-alive\n\n"
"""A comment: keeps proxies from closing a silent stream, and every client skips it."""


PLAIN_END: Final = b": done\n\n"
"""The comment that ends a complete stream where nobody expects an event."""


def plain_events(encoded: list[bytes]) -> bytes:
    """Return one event for each encoded value; an error's envelope is one too, the last."""
    return b"data: " + b"\n\ndata: ".join(encoded) + b"\n\n"
