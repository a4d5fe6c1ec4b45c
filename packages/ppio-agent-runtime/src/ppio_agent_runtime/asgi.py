"""The types of ASGI (specification 3.0), which everything here is written in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
"""Raw header pairs: names in lower case."""
UNACKNOWLEDGED: Final = "ppio_agent.unacknowledged_bytes"
"""Where a scope has a function that says how many bytes of the answer the caller's side has not taken yet."""
