"""The way to what listens in a sandbox: bytes pass as they come, in both directions, and so does a hang-up."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress
from typing import Final

import h11
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from .sandboxes import AUTO_RESUME_SECONDS, Sandbox, Sandboxes

_OF_THIS_HOP: Final = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
TRAFFIC_HEADER: Final = "e2b-traffic-access-token"


class AgentProxy:
    """Passes requests on to a port of a sandbox."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

    async def __call__(self, name: str, port: int, scope: Scope, receive: Receive, send: Send) -> None:
        sandbox = self._sandboxes.get(name)
        if sandbox is not None and sandbox.state == "paused" and sandbox.options.auto_resume:
            await self._sandboxes.resume(sandbox, max(AUTO_RESUME_SECONDS, sandbox.options.seconds))
        if sandbox is None or sandbox.state != "running":
            await refuse(502, {"sandboxId": name, "message": "The sandbox was not found"}, scope, receive, send)
        elif problem := traffic_problem(sandbox, Headers(scope=scope)):
            await refuse(403, {"sandboxId": name, "message": problem}, scope, receive, send)
        elif sandbox.template.agent is not None:
            own = {**scope, "state": {"sandbox_id": sandbox.sandbox_id, "env_vars": sandbox.options.env_vars}}
            await sandbox.template.agent(own, receive, send)
        else:
            await pass_on(sandbox, port, scope, receive, send)


def traffic_problem(sandbox: Sandbox, headers: Headers) -> str | None:
    """Return why the public may not come in, if so."""
    if sandbox.traffic_token is None:
        return None
    given = headers.get(TRAFFIC_HEADER)
    if given is None:
        return f"Sandbox is secured with traffic access token. Token header '{TRAFFIC_HEADER}' is missing"
    if not hmac.compare_digest(given, sandbox.traffic_token):
        return "Provided traffic access token is invalid"
    return None


async def refuse(status: int, body: dict[str, object], scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({**body, "code": status}, status)(scope, receive, send)


async def pass_on(sandbox: Sandbox, port: int, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass one request on to a real process, and its answer back."""
    try:
        reader, writer = await asyncio.open_connection(sandbox.address, port)
    except OSError:
        body: dict[str, object] = {"sandboxId": sandbox.sandbox_id, "port": port}
        message = "The sandbox is running but port is not open"
        await refuse(502, body | {"message": message}, scope, receive, send)
        return
    exchange = _Exchange(reader, writer)
    upload = asyncio.create_task(exchange.upload(scope, receive))
    try:
        if not await exchange.download(send):
            message = "The connection was closed before an answer came"
            await refuse(502, {"sandboxId": sandbox.sandbox_id, "message": message}, scope, receive, send)
    finally:
        upload.cancel()
        with suppress(asyncio.CancelledError):
            await upload
        writer.close()


class _Exchange:
    """One connection to a process in a sandbox."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT)

    async def upload(self, scope: Scope, receive: Receive) -> None:
        """Send the request, then watch the caller: when it hangs up, so do we."""
        path = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = [(name, value) for name, value in scope["headers"] if name not in _OF_THIS_HOP]
        request = h11.Request(method=scope["method"], target=path, headers=[*headers, (b"connection", b"close")])
        with suppress(ConnectionError):
            await self._send(request)
            while (message := await receive())["type"] == "http.request":
                if message.get("body"):
                    await self._send(h11.Data(data=message["body"]))
                if not message.get("more_body"):
                    await self._send(h11.EndOfMessage())
                    break
            while message["type"] != "http.disconnect":
                message = await receive()
        self._writer.transport.abort()

    async def _send(self, event: h11.Event) -> None:
        if data := self._protocol.send(event):
            self._writer.write(data)
            await self._writer.drain()

    async def download(self, send: Send) -> bool:
        """Pass the answer back as it comes, and tell whether there was one.

        Raises:
            ConnectionError: It was cut; so will be what the caller gets.
        """
        started = False
        while True:
            try:
                event = self._protocol.next_event()
                if event is h11.NEED_DATA:
                    self._protocol.receive_data(await self._reader.read(65536))
                    continue
            except (OSError, h11.RemoteProtocolError):
                return self._broken(started=started)
            if isinstance(event, h11.Response):
                started = True
                headers = [(name, value) for name, value in event.headers if name not in _OF_THIS_HOP]
                await send({"type": "http.response.start", "status": event.status_code, "headers": headers})
            elif isinstance(event, h11.Data):
                await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
            elif isinstance(event, h11.EndOfMessage):
                await send({"type": "http.response.body", "body": b""})
                return True
            elif isinstance(event, h11.ConnectionClosed):
                return self._broken(started=started)

    @staticmethod
    def _broken(*, started: bool) -> bool:
        if started:
            raise ConnectionError("the agent cut its answer")
        return False
