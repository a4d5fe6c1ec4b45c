"""uvicorn's httptools protocol with `Cycle` for each request, remembering all of them that are still being answered.

uvicorn keeps the last one only. When a caller sends the next request behind an unanswered one and hangs up, the first
would never hear of it.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ._cycle import Cycle

_Target = tuple[str, bytes, bytes]
"""Path, the same as it was sent, and query."""
_HOT: Final[dict[bytes, _Target]] = {path: (path.decode(), path, b"") for path in (b"/invocations", b"/ping")}
"""Targets that need no parsing, which is 0.8 us."""


class PipeliningProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection, with all of its requests."""

    _overtaken: list[Cycle] | None = None
    """Requests that were still being answered when the next one arrived behind them."""
    _own_fields: tuple[object, bytes] = (None, b"")

    def on_headers_complete(self) -> None:
        """Begin to answer, or queue up behind the requests before."""
        scope: Any = self.scope
        parser = self.parser
        scope["method"] = parser.get_method().decode("ascii")
        http_version = parser.get_http_version()
        if http_version != "1.1":
            scope["http_version"] = http_version
        if parser.should_upgrade() and self._should_upgrade():
            return
        path, raw_path, query = _HOT.get(self.url) or _parsed(self.url)
        scope["path"] = self.root_path + path
        scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        scope["query_string"] = query
        before: Any = self.cycle  # None before the first request, whatever uvicorn's annotation says
        cycle: Any = Cycle(
            self,
            scope,
            keep_alive=http_version != "1.0" and parser.should_keep_alive(),
            expects_continue=self.expect_100_continue,
        )
        self.cycle = cycle
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
            return
        self.flow.pause_reading()
        self.pipeline.appendleft((cycle, self.app))
        earlier = self._overtaken or []
        self._overtaken = [each for each in earlier if not each.response_complete] + [before]

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body on."""
        cycle: Any = self.cycle
        if cycle.response_complete or (self.parser.should_upgrade() and self._should_upgrade()):
            return
        cycle.add_body(body)
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request on the connection that its caller is gone."""
        for cycle in self._overtaken or ():
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.set()
        super().connection_lost(exc)

    def own_fields(self) -> bytes:
        """Return the header lines that every answer has; uvicorn makes their list anew once a second, for the date."""
        pairs, lines = self._own_fields
        if pairs is not self.server_state.default_headers:
            pairs = self.server_state.default_headers
            lines = b"".join([b"%b: %b\r\n" % pair for pair in self.server_state.default_headers])
            self._own_fields = (pairs, lines)
        return lines

    def is_answering(self) -> bool:
        """Say whether a request of this connection has no complete answer yet."""
        cycle: Any = self.cycle
        return (cycle is not None and not cycle.response_complete) or self.is_answering_earlier()

    def is_answering_earlier(self) -> bool:
        """The same, for the requests before the last one."""
        return any(not earlier.response_complete for earlier in self._overtaken or ())

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        cycle.task = self.loop.create_task(cycle.run(app))
        self.tasks.add(cycle.task)  # until `run` ends


def _parsed(url: bytes) -> _Target:
    target = httptools.parse_url(url)
    path = target.path.decode("ascii")
    return unquote(path) if "%" in path else path, target.path, target.query or b""
