"""Answers the callers of durable invocations: the one who began it, those who come back, those who ask again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ppio_agent_models import IDEMPOTENCY_REPLAYED_HEADER

from ._event_log import plain_event
from ._presence import Presence
from ._record import SUCCEEDED
from ._respond import JSON_TYPE, STREAM_HEADERS, identity_headers
from ._sse import HEARTBEAT, PLAIN_END

if TYPE_CHECKING:
    from ._asgi import Message, Receive, Scope, Send
    from ._context import Headers
    from ._invocations import Invocations
    from ._record import Record
    from ._request import Form

_REPLAYED = (IDEMPOTENCY_REPLAYED_HEADER.lower().encode(), b"true")


class Attendance:
    """One caller of one record, from its request to its last byte.

    Args:
        invocations: Whose clock watches the caller.
        heartbeat_seconds: Silence after which a stream gets a comment.
        record: What it waits for.
        headers: Response headers that say which call this is.
        replayed: An earlier request with the same key began the invocation.
    """

    def __init__(
        self, invocations: Invocations, heartbeat_seconds: float, record: Record, headers: Headers, *, replayed: bool
    ) -> None:
        self._invocations = invocations
        self._heartbeat_seconds = heartbeat_seconds
        self._record = record
        self._headers = [*headers, _REPLAYED] if replayed else headers

    async def answer(self, wants: Form | None, scope: Scope, receive: Receive, send: Send, *, numbered: bool) -> None:
        """Wait for the invocation and answer in the form that is wanted, or in its own.

        Raises:
            ClientGoneError: The caller hung up.
        """
        record = self._record
        presence = self._arrive(receive)
        try:
            if wants is None:
                await presence.until(record.has_form)
            if wants == "json" or (wants is None and not record.is_stream):
                await presence.until(record.over)
                await self._send_whole(scope, receive, send)
            else:
                await self._send_events(presence, 0, scope, receive, send, numbered=numbered)
        finally:
            self._depart(presence)

    async def events(self, after: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events after number `after`, then those that come, to the end of the log.

        Raises:
            EventsEvictedError: Some of them are not held any more.
            ClientGoneError: The caller hung up.
        """
        presence = self._arrive(receive)
        try:
            await self._send_events(presence, after, scope, receive, send, numbered=True)
        finally:
            self._depart(presence)

    async def resource(self, wait_seconds: float, receive: Receive, send: Send) -> None:
        """Send the invocation as it is, after waiting for its end for `wait_seconds` at most."""
        if wait_seconds > 0:
            presence = Presence(receive, self._heartbeat_seconds)
            self._invocations.attend(presence)
            try:
                await presence.until(self._record.over, wait_seconds)
            finally:
                self._invocations.dismiss(presence)
                presence.release()
        await send_json(send, 200, self._record.resource(), self._headers)

    def _arrive(self, receive: Receive) -> Presence:
        presence = Presence(receive, self._heartbeat_seconds)
        self._record.joined()
        self._invocations.attend(presence)
        return presence

    def _depart(self, presence: Presence) -> None:
        self._invocations.dismiss(presence)
        presence.release()
        self._record.left(asyncio.get_running_loop().time())

    async def _send_whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._record.answer
        assert answer is not None
        if answer.response is not None:
            await answer.response(scope, receive, _with_headers(send, self._headers))
            return
        await send_json(send, answer.status, self._record.envelope(), self._headers + answer.headers)

    async def _send_events(
        self, presence: Presence, after: int, scope: Scope, receive: Receive, send: Send, *, numbered: bool
    ) -> None:
        record = self._record
        reader = record.log.read(after)
        try:
            events = await presence.take(reader)
            if after == 0 and record.failed_silently:
                return await self._send_whole(scope, receive, send)  # a true status, while it is not too late for one
            await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *self._headers]})
            while events or not reader.at_end:
                data = _framed(events, numbered=numbered) if events else HEARTBEAT
                if data:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                if reader.at_end:
                    break
                events = await presence.take(reader)
            end = b"" if numbered or record.state != SUCCEEDED else PLAIN_END
            await send({"type": "http.response.body", "body": end})
        finally:
            reader.leave()


def caller_headers(request_id: str, record: Record, session_id: str | None) -> Headers:
    """Return the response headers for a caller of a record."""
    return identity_headers(request_id, session_id, record.invocation_id)


async def send_json(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a JSON answer."""
    own: Headers = [JSON_TYPE, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": own + headers})
    await send({"type": "http.response.body", "body": body})


def _framed(events: list[bytes], *, numbered: bool) -> bytes:
    return b"".join(events) if numbered else b"".join(map(plain_event, events))


def _with_headers(send: Send, headers: Headers) -> Send:
    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *headers]}
        await send(message)

    return send_marked
