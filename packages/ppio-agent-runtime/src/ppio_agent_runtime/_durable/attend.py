"""Answers the callers of durable invocations: the one who began it, those who come back, those who ask again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppio_agent_models import IDEMPOTENCY_REPLAYED_HEADER, EventsEvictedError

from .._corridor.respond import JSON_TYPE, STREAM_HEADERS, came_too_late
from .._http.sse import HEARTBEAT, PLAIN_END, plain_events
from .._problems import problem_of
from .._records.event_blocks import chunks_in, event_block, plain
from .._records.record import SUCCEEDED
from .presence import Presence

if TYPE_CHECKING:
    from ppio_agent_models import SerializationError

    from .._asgi import Headers, Receive, Scope, Send
    from .._corridor.request import Form
    from .._engine.context import RequestContext
    from .._engine.invocations import Invocations
    from .._records.event_reader import EventReader
    from .._records.record import Record
    from .presence import Channel

_REPLAYED = (IDEMPOTENCY_REPLAYED_HEADER.lower().encode(), b"true")


class Attendance:
    """One caller of one record, from its request to its last byte.

    Args:
        invocations: Whose clock watches the caller.
        heartbeat_seconds: Silence after which a stream gets a comment.
        record: What it waits for.
        headers: Response headers that say which call this is.
        context: Of the request; the door may note further headers in it until the answer goes out.
        replayed: An earlier request with the same key began the invocation.
    """

    def __init__(
        self,
        invocations: Invocations,
        heartbeat_seconds: float,
        record: Record,
        headers: Headers,
        context: RequestContext | None = None,
        *,
        replayed: bool = False,
    ) -> None:
        self._invocations = invocations
        self._heartbeat_seconds = heartbeat_seconds
        self._record = record
        self._run = record.run
        self._own_headers = [*headers, _REPLAYED] if replayed else headers
        self._context = context

    @property
    def _headers(self) -> Headers:
        return self._own_headers if self._context is None else self._own_headers + self._context.response_headers

    async def answer(self, wants: Form | None, scope: Scope, receive: Receive, send: Send, *, numbered: bool) -> None:
        """Wait for the invocation and answer in the form that is wanted, or in its own.

        Raises:
            EventsEvictedError: The beginning of what is wanted is not held any more.
            ClientGoneError: The caller hung up.
        """
        record = self._record
        # From the beginning on, so that nothing is forgotten before it is known what is wanted.
        reader = record.log.read(0) if not record.is_over and record.log.first_id == 1 else None
        presence = self._arrive(receive, (scope, receive, send))
        try:
            if wants != "stream":
                await presence.until(lambda: record.has_form)
            if wants == "stream" or (wants is None and record.form == "stream"):
                reader = reader or record.log.read(0)
                await self._send_events(presence, reader, send, numbered=numbered)
            elif record.form == "stream":
                reader = reader or record.log.read(0)
                await self._send_whole(presence, send, await _all_chunks(presence, reader))
            else:
                await presence.until(lambda: record.is_over)
                await self._send_whole(presence, send)
        finally:
            if reader is not None:
                reader.leave()
            self._depart(presence)

    async def announce(self, location: bytes, receive: Receive, send: Send) -> None:
        """Answer 202 as soon as the invocation will not be refused any more, or say why it was.

        Raises:
            ClientGoneError: The caller hung up.
        """
        record = self._record
        presence = self._arrive(receive)
        try:
            await presence.until(lambda: record.is_accepted)
        finally:
            self._depart(presence)
        if record.is_refused and record.started_at is None:
            return await self._send_whole(presence, send)
        headers: Headers = [*self._headers, (b"location", location), (b"preference-applied", b"respond-async")]
        await send_json(send, 202, record.resource(), headers)

    async def events(self, after: int, receive: Receive, send: Send) -> None:
        """Send the events after number `after`, then those that come, to the end of the log.

        Raises:
            EventsEvictedError: Some of them are not held any more.
            ClientGoneError: The caller hung up.
        """
        reader = self._record.log.read(after)
        presence = self._arrive(receive)
        try:
            await self._send_events(presence, reader, send, numbered=True, resumes=True)
        finally:
            reader.leave()
            self._depart(presence)

    async def resource(self, wait_seconds: float, receive: Receive, send: Send) -> None:
        """Send the invocation as it is, after waiting for its end for `wait_seconds` at most."""
        record = self._record
        presence = self._arrive(receive)
        try:
            if wait_seconds > 0:
                await presence.until(lambda: record.is_over, wait_seconds)
            await send_json(send, 200, record.resource(), self._headers)
        finally:
            self._depart(presence)

    def _arrive(self, receive: Receive, channel: Channel | None = None) -> Presence:
        presence = Presence(receive, self._heartbeat_seconds, channel)
        self._record.join(presence)
        self._invocations.attend(presence)
        return presence

    def _depart(self, presence: Presence) -> None:
        record = self._record
        self._invocations.dismiss(presence)
        presence.release()
        record.leave(presence)
        look_after(record, self._invocations, took_response=presence.took_response)

    async def _send_whole(self, presence: Presence, send: Send, chunks: list[bytes] | None = None) -> None:
        if not (presence.took_response and self._run is not None and self._run.head_sent):
            await self.send_whole(send, chunks)

    async def send_whole(self, send: Send, chunks: list[bytes] | None = None) -> None:
        """Send the whole answer of an invocation that is over.

        Args:
            chunks: Those of a stream, where somebody has them all.

        Raises:
            EventsEvictedError: It is not held any more.
        """
        record, answer = self._record, self._record.answer
        assert answer is not None
        if record.form != "response" or record.state != SUCCEEDED:
            return await send_json(send, answer.status, record.envelope(chunks), self._headers + answer.headers)
        if answer.body is None:
            raise EventsEvictedError(
                "The agent answered with a response that can be sent only once, and it was sent to another caller.",
                first_event_id=record.last_event_id,
            )
        headers = answer.headers + self._headers
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _send_events(
        self, presence: Presence, reader: EventReader, send: Send, *, numbered: bool, resumes: bool = False
    ) -> None:
        begun = False
        while True:
            blocks = await presence.take(reader)
            if presence.took_response:  # and is sent it at this moment
                if reader.at_end:
                    return await self._send_whole(presence, send)
                continue
            data = (b"".join if numbered else _plain)(blocks) if blocks else HEARTBEAT
            if not begun:
                if reader.at_end and not resumes and self._record.said_nothing(numbered=numbered):
                    return await self._send_whole(presence, send)  # a true status, while it is not too late for one
                if not data and not reader.at_end:
                    continue  # nothing that this caller is told of
                begun = True
                presence.channel = None
                headers = [*STREAM_HEADERS, *self._headers]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            if reader.at_end:
                if self._record.form == "response" and self._record.state == SUCCEEDED and not resumes:
                    return await self._send_error(came_too_late(), send, numbered=numbered)
                end = b"" if numbered or self._record.state != SUCCEEDED else PLAIN_END
                return await send({"type": "http.response.body", "body": (data if blocks else b"") + end})
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _send_error(self, error: SerializationError, send: Send, *, numbered: bool) -> None:
        """End a stream with an error that only this caller is told of."""
        record = self._record
        problem = problem_of(error, request_id=record.request_id, tells_errors=True)
        envelope = problem.envelope(record.request_id, record.session_id)
        block = event_block(b"error", record.last_event_id, envelope) if numbered else plain_events([envelope])
        await send({"type": "http.response.body", "body": block})


def look_after(record: Record, invocations: Invocations, *, took_response: bool) -> None:
    """See to what a caller has left.

    Args:
        took_response: It left a response of the agent's own that was sent to it live, and to nobody else.
    """
    if took_response:
        record.cancel("The invocation was cancelled: its caller hung up.")
    elif record.is_abandoned:
        invocations.attend(record)


async def _all_chunks(presence: Presence, reader: EventReader) -> list[bytes]:
    """Take a stream to its end as it is made, so that its log need not have room for all of it."""
    chunks: list[bytes] = []
    while not reader.at_end:
        chunks += chunks_in(await presence.take(reader))
    return chunks


async def send_json(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a JSON answer."""
    own: Headers = [JSON_TYPE, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": own + headers})
    await send({"type": "http.response.body", "body": body})


def _plain(blocks: list[bytes]) -> bytes:
    return b"".join(map(plain, blocks))
