"""uvicorn's httptools protocol, answering bytes that are not HTTP with the error envelope."""

from __future__ import annotations

import os
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ppio_agent_models import BadRequestError

from ._problems import problem_of


class AgentHttpProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection."""

    _overtaken: list[Any] | None = None
    """Requests that were still being answered when the next one arrived behind them (pipelining)."""

    def on_headers_complete(self) -> None:
        """Note what uvicorn forgets: it keeps the last request of a connection only."""
        cycle = self.cycle
        super().on_headers_complete()
        if cycle is not None and not cycle.response_complete:
            earlier = self._overtaken or []
            self._overtaken = [each for each in earlier if not each.response_complete] + [cycle]

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request on the connection, not only the last, that its caller is gone."""
        for cycle in self._overtaken or ():
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer 400 and close: after bytes that are not HTTP nothing on the connection can be trusted."""
        request_id = os.urandom(16).hex()
        problem = problem_of(
            BadRequestError("The request is not valid HTTP."), request_id=request_id, tells_errors=False
        )
        body = problem.envelope(request_id, None)
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"x-ppio-request-id: %b\r\nconnection: close\r\n\r\n%b" % (len(body), request_id.encode(), body)
        )
        self.transport.close()
