"""uvicorn's httptools protocol, remembering every request of a connection that is still being answered.

uvicorn keeps the last one only. When a caller sends the next request behind an unanswered one and hangs up, the first
would never hear of it.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PipeliningProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection, with all of its requests."""

    _overtaken: list[Any] | None = None
    """Requests that were still being answered when the next one arrived behind them."""

    def on_headers_complete(self) -> None:
        """Begin to answer, or queue up behind the requests before."""
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn's annotation says
        super().on_headers_complete()
        if cycle is not None and not cycle.response_complete:
            earlier = self._overtaken or []
            self._overtaken = [each for each in earlier if not each.response_complete] + [cycle]

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request on the connection that its caller is gone."""
        for cycle in self._overtaken or ():
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def is_answering(self) -> bool:
        """Say whether a request of this connection has no complete answer yet."""
        cycle: Any = self.cycle
        return (cycle is not None and not cycle.response_complete) or self.is_answering_earlier()

    def is_answering_earlier(self) -> bool:
        """The same, for the requests before the last one."""
        return any(not earlier.response_complete for earlier in self._overtaken or ())
