"""One request and its answer, as the corridor sees them: `Cycle` on our own connections, elsewhere `AsgiExchange`.

What nearly every call needs, a body that has arrived, an answer of known length, a stream, is a method each; on our own
connections these are no messages, no dicts and no coroutines, which would be a quarter of a small call. Everything else
(hanging up, what is left of a body, responses of the agent's own) speaks ASGI.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from .headers import by_name

if TYPE_CHECKING:
    from .._asgi import Headers, Receive, Scope, Send

KEY_ID = "ppio_agent.key_id"
"""Where in the scope the access layer notes which key opened the door."""


class Exchange(Protocol):
    """A request and its answer.

    Attributes:
        headers: Of the request, as they came, names in lower case.
        found: The same by name; see `by_name`.
        client: Address and port of the caller, or None.
        key_id: Which key opened the door, or None.
        task: Where the request is answered.
    """

    headers: Headers
    found: dict[bytes, bytes]
    key_id: str | None

    @property
    def client(self) -> tuple[str, int] | None: ...
    @property
    def task(self) -> asyncio.Task[Any] | None: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def receive(self) -> Receive: ...
    @property
    def send(self) -> Send: ...

    def take_body(self) -> bytes | None:
        """Return the whole body if it is here and not empty, else None: then `receive` has it."""

    def answer(self, fields: bytes, body: bytes) -> Awaitable[None] | None:
        """Answer 200; what is returned has to be awaited.

        Args:
            fields: Lines of the head that need no checks, `Content-Length` among them.
            body: As long as that says.
        """

    def stream(self, fields: bytes, data: bytes, *, more: bool) -> Awaitable[None] | None:
        """Answer 200 with a part of a stream; what is returned has to be awaited.

        Args:
            fields: Lines of the head that need no checks, with the first part; with the others nothing.
            data: Not empty.
            more: It is not the last part.
        """


Answerer = Callable[[Exchange], Awaitable[None]]


class AsgiExchange:
    """A request and its answer from any ASGI server, or through a middleware."""

    __slots__ = ("found", "headers", "key_id", "receive", "scope", "send", "task")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers: Headers = list(scope["headers"])
        self.found = by_name(self.headers)
        self.key_id: str | None = scope.get(KEY_ID)
        self.task: asyncio.Task[Any] | None = asyncio.current_task()

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of the caller."""
        client: tuple[str, int] | None = self.scope.get("client")
        return client

    def take_body(self) -> bytes | None:
        """Leave it to `receive`: nobody knows what has arrived."""
        return None

    async def answer(self, fields: bytes, body: bytes) -> None:
        """Answer 200."""
        await self._begin(fields)
        await self.send({"type": "http.response.body", "body": body})

    async def stream(self, fields: bytes, data: bytes, *, more: bool) -> None:
        """Answer 200 with a part of a stream."""
        if fields:
            await self._begin(fields)
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def _begin(self, fields: bytes) -> None:
        lines = fields.split(b"\r\n")[:-1]
        headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
