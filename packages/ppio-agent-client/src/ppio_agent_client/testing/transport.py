"""An httpx transport that connects clients with the fake agent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import httpx
from pydantic_core import to_json

from ppio_agent_models import (
    EVENTS_HEADER,
    IDEMPOTENCY_REPLAYED_HEADER,
    INSTANCE_HEADER,
    INVOCATION_ID_HEADER,
    LAST_EVENT_ID_HEADER,
    PROTOCOL_HEADER,
    REQUEST_ID_HEADER,
)

from .script import Cut, Delay, FakeInvocation, Progress, RecordedRequest, Typed, Value, status_of

if TYPE_CHECKING:
    from .agent import FakeAgent

_IDENTITY = {PROTOCOL_HEADER: "1", INSTANCE_HEADER: "fake"}


class FakeTransport(httpx.MockTransport):
    """A transport for sync and async httpx clients; all requests go to the fake agent."""

    def __init__(self, agent: FakeAgent) -> None:
        super().__init__(self._answer)
        self._agent = agent

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Handle a request of an async client, as `_answer` does for a blocking client."""
        await request.aread()
        for step in self._steps(request):
            if not isinstance(step, float):
                return step
            await asyncio.sleep(step)
        raise AssertionError  # the last step is the answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        for step in self._steps(request):
            if not isinstance(step, float):
                return step
            time.sleep(step)
        raise AssertionError  # as above

    def _steps(self, request: httpx.Request) -> Iterator[float | httpx.Response]:
        """Yield pauses in seconds, and then the response."""
        path = request.url.path
        if path == "/ping":
            yield _json(200, {"status": "Healthy"})
        elif path == "/invocations" and request.method == "POST":
            yield from self._invoke(request)
        elif not path.startswith("/invocations/"):
            yield _json(404, _error("NotFoundError", f"The fake agent has no route {request.method} {path}."))
        else:
            _, _, invocation_id, *rest = path.split("/")
            yield from self._about(invocation_id, request, wants_events=bool(rest))

    def _invoke(self, request: httpx.Request) -> Iterator[float | httpx.Response]:
        asked = RecordedRequest._of(json.loads(request.content), dict(request.headers))
        invocation, replayed = self._agent._begin(asked)
        headers = _headers(invocation)
        if replayed:
            headers[IDEMPOTENCY_REPLAYED_HEADER] = "true"
        if asked.is_background:
            yield _json(202, invocation.resource().model_dump(mode="json"), headers)
        elif asked.wants_stream and not invocation.fails_at_once:
            yield _stream(_Events(invocation, 0, request), headers)
        elif invocation.take_cut():
            raise httpx.ReadError("the fake agent cut the connection", request=request)
        else:
            yield from _silence(invocation, invocation.remaining(), request)
            yield _json(status_of(invocation.error), invocation.envelope().model_dump(), headers)

    def _about(
        self, invocation_id: str, request: httpx.Request, *, wants_events: bool
    ) -> Iterator[float | httpx.Response]:
        invocation = self._agent._find(invocation_id)
        if invocation is None:
            yield _json(404, _error("NotFoundError", f"There is no invocation {invocation_id!r}."))
        elif wants_events:
            after = int(request.headers.get(LAST_EVENT_ID_HEADER, "0"))
            yield _stream(_Events(invocation, after, request), _headers(invocation))
        elif request.method == "DELETE":
            before = invocation.resource()
            invocation.cancel()
            yield _json(200 if before.state.is_final else 202, before.model_dump(mode="json"))
        else:
            wait = float(request.url.params.get("wait", "0"))
            yield from _silence(invocation, min(wait, invocation.remaining()), request)
            yield _json(200, invocation.resource().model_dump(mode="json"))


class _Events(httpx.AsyncByteStream, httpx.SyncByteStream):
    """The events of an invocation after event number `after`, with its delays and cuts."""

    def __init__(self, invocation: FakeInvocation, after: int, request: httpx.Request) -> None:
        self._invocation = invocation
        self._after = after
        self._request = request
        self.is_typed: bool = invocation.is_typed and request.headers.get(EVENTS_HEADER) == "1"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts():
            if isinstance(part, float):
                await asyncio.sleep(part)
            else:
                yield part

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts():
            if isinstance(part, float):
                time.sleep(part)
            else:
                yield part

    def _parts(self) -> Iterator[bytes | float]:
        number = 0
        for index, item in enumerate(self._invocation.items):
            if self._invocation.is_cancelled or isinstance(item, Exception):
                break
            if isinstance(item, Delay):
                if number >= self._after:
                    yield from _silence(self._invocation, item.seconds, self._request)
            elif isinstance(item, Cut):
                if self._invocation.take_cut(index):
                    raise httpx.ReadError("the fake agent cut the connection", request=self._request)
            else:
                number += 1
                if number > self._after:
                    yield from self._told(number, item)
        number += 1
        if number > self._after:
            name = "done" if self._invocation.error is None else "error"
            yield b"id: %d\nevent: %b\ndata: %b\n\n" % (
                number,
                name.encode(),
                to_json(self._invocation.envelope(with_result=False).model_dump()),
            )

    def _told(self, number: int, item: Any) -> list[bytes]:
        if not isinstance(item, Typed):
            return [_event(number, item)]
        return [_event(number, shown) for shown in ([item.event] if self.is_typed else item.chunks)]


def _event(number: int, item: Any) -> bytes:
    if isinstance(item, Progress):
        return b"id: %d\nevent: progress\ndata: %b\n\n" % (number, to_json(item.value))
    return b"id: %d\ndata: %b\n\n" % (number, to_json(item.result if isinstance(item, Value) else item))


def _silence(invocation: FakeInvocation, seconds: float, request: httpx.Request) -> Iterator[float]:
    """Yield short pauses until `seconds` are over, or the invocation is cancelled.

    Raises:
        httpx.ReadTimeout: The pause exceeds the client's read timeout.
    """
    limit = request.extensions.get("timeout", {}).get("read")
    end = time.monotonic() + (seconds if limit is None else min(seconds, limit))
    while not invocation.is_cancelled and (left := end - time.monotonic()) > 0:
        yield min(left, 0.02)
    if limit is not None and seconds > limit and not invocation.is_cancelled:
        raise httpx.ReadTimeout("the fake agent is silent", request=request)


def _headers(invocation: FakeInvocation) -> dict[str, str]:
    return {INVOCATION_ID_HEADER: invocation.invocation_id, REQUEST_ID_HEADER: invocation.invocation_id}


def _stream(events: _Events, headers: dict[str, str]) -> httpx.Response:
    sent = {"Content-Type": "text/event-stream", **_IDENTITY} | headers
    if events.is_typed:
        sent[EVENTS_HEADER] = "1"
    return httpx.Response(200, headers=sent, stream=events)


def _json(status: int, value: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    sent = {"Content-Type": "application/json", **_IDENTITY} | (headers or {})
    return httpx.Response(status, content=to_json(value), headers=sent)


def _error(error_type: str, sentence: str) -> dict[str, Any]:
    return {"status": "error", "result": None, "error": sentence, "error_type": error_type}
