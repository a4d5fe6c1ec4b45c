"""The types of ASGI (specification 3.0)."""

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
"""Key of a scope: a function that returns how many bytes of the response the peer has not acknowledged yet."""
