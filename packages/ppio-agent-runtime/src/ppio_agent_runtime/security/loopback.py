"""Protects an agent that runs with `debug` on loopback, without a key, from web pages.

A browser lets any page send requests to 127.0.0.1 (with an `Origin`), and lets a page whose host name resolves to
127.0.0.1 even read the responses (DNS rebinding: the `Host` is then the page's). Other clients are not affected.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ppio_agent_models import AuthenticationError

from ..http.responses import refuse

if TYPE_CHECKING:
    from ..asgi import ASGIApp, Receive, Scope, Send


class LoopbackGuard:
    """Responds with 403 to requests to a loopback address with a foreign host or origin.

    Args:
        app: The next ASGI app.
        checks_origin: Refuse foreign origins too; False if `cors_origins` is set.
    """

    def __init__(self, app: ASGIApp, *, checks_origin: bool) -> None:
        self._app = app
        self._checks_origin = checks_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "lifespan" or not _is_loopback((scope.get("server") or ("",))[0]):
            return await self._app(scope, receive, send)
        reason = self._foreign(scope)
        if reason is None:
            return await self._app(scope, receive, send)
        await refuse(scope, send, AuthenticationError(reason, status_code=403))

    def _foreign(self, scope: Scope) -> str | None:
        """Return why the request is refused, or None. Repeated header fields are all checked."""
        for name, value in scope["headers"]:
            text = value.decode("latin-1")
            if name == b"host" and not _is_loopback(_host_of(f"//{text}")):
                return (
                    f"The Host {text[:200]!r} is not this machine: without a key, an agent with debug takes only "
                    "localhost, 127.0.0.0/8 and [::1]. Use one of these, set api_keys, or switch debug off."
                )
            if name == b"origin" and self._checks_origin and not _is_loopback(_host_of(text)):
                return (
                    f"Web pages of {text[:200]!r} may not call this agent: without a key, an agent with debug takes "
                    "only those of this machine. List the origin in cors_origins, set api_keys, or switch debug off."
                )
        return None


def _host_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # brackets without an address in them, or a port that is no number
        return None
    return parts.hostname


def _is_loopback(host: str | None) -> bool:
    if not host:
        return False
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
