"""Trouble on demand: late, wrong, cut off, or never."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATUS_MESSAGES: Final = {
    400: "bad request",
    401: "invalid API key",
    403: "forbidden",
    404: "not found",
    409: "conflict",
    429: "rate limit exceeded, please try again later",
    500: "internal error",
    502: "bad gateway",
    503: "service unavailable",
}
QUOTA_MESSAGE: Final = (
    "you have reached the maximum number of concurrent sandboxes (100), the quota of your account. "
    "If you need more, please contact support."
)
KINDS: Final = {"latency", "quota", "reset", "hang", "cut", *map(str, STATUS_MESSAGES)}


@dataclass
class Fault:
    """What happens to the next calls of an endpoint."""

    endpoint: str
    kind: str
    times: int = 1
    retry_after: str | None = None
    after_effect: bool = False
    seconds: float = 0.0
    message: str | None = None
    hit: int = field(default=0, init=False)

    def answers(self, endpoint: str) -> bool:
        return self.hit < self.times and (endpoint == self.endpoint or endpoint.startswith(self.endpoint + "/"))

    async def happen(self, receive: Receive, send: Send, transport: asyncio.Transport) -> None:
        """Answer, or rather not."""
        if self.kind == "hang":
            await gone(receive)
        elif self.kind == "reset":
            reset(transport)
        elif self.kind == "cut":
            await cut(send, transport)
        else:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        status = 429 if self.kind == "quota" else int(self.kind)
        message = self.message or (QUOTA_MESSAGE if self.kind == "quota" else STATUS_MESSAGES[status])
        headers = [(b"content-type", b"application/json"), (b"x-request-id", b"req-of-a-fault")]
        if self.retry_after is not None:
            headers.append((b"retry-after", self.retry_after.encode()))
        body = json.dumps({"code": status, "message": message}).encode()
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Faults:
    """The faults that wait for their calls; those of one endpoint happen in the order in which they were added."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(
        self,
        endpoint: str,
        kind: str,
        *,
        times: int = 1,
        retry_after: str | None = None,
        after_effect: bool = False,
        seconds: float = 0.0,
        message: str | None = None,
    ) -> Fault:
        """Let the next calls of an endpoint fail.

        Args:
            endpoint: A name as in the request log; `agent` is any request to an agent, `agent/ping` one of them.
            kind: A status, `latency` (of `seconds`, then the true answer), `quota`, `reset` (the connection breaks),
                `hang` (no answer, ever), or `cut` (a head and half a body).
            retry_after: The header, in either form.
            after_effect: The platform does the thing, and only its answer is lost.
        """
        if kind not in KINDS:
            raise ValueError(f"There is no fault {kind!r}; there are {sorted(KINDS)}.")
        fault = Fault(endpoint, kind, times, retry_after, after_effect, seconds, message)
        with self._lock:
            self._waiting.append(fault)
        return fault

    def take(self, endpoint: str) -> Fault | None:
        """Return what happens to this call, if anything, and count it."""
        with self._lock:
            for fault in self._waiting:
                if fault.answers(endpoint):
                    fault.hit += 1
                    return fault
        return None

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._waiting.clear()


async def gone(receive: Receive) -> None:
    """Wait until the caller has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def reset(transport: asyncio.Transport) -> None:
    """Break the connection, so that the caller sees a reset."""
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def cut(send: Send, transport: asyncio.Transport) -> None:
    """Promise more than is sent."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"half":', "more_body": True})
    transport.close()


async def swallow(message: Message) -> None:
    """Take an answer that nobody will get."""


async def with_fault(
    fault: Fault, app: ASGIApp, scope: Scope, receive: Receive, send: Send, transport: asyncio.Transport
) -> None:
    """Answer a call as its fault wants it."""
    if fault.kind == "latency":
        await asyncio.sleep(fault.seconds)
        await app(scope, receive, send)
        return
    if fault.after_effect:
        await app(scope, receive, swallow)
    else:
        while (await receive()).get("more_body"):  # a caller who cannot write sees another trouble than a reset
            pass
    await fault.happen(receive, send, transport)
