"""Answers one caller of an invocation: as JSON, as a stream, with 202, or with the invocation as a resource.

Who began it, who comes back, and who asks again under the same key are all answered here.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pydantic_core import to_json

from ppio_agent_models import IDEMPOTENCY_REPLAYED_HEADER, EventsEvictedError

from ..errors import error_response
from ..http.responses import STREAM_HEADERS, AnswerCutError, came_too_late, identity_headers, send_json
from ..http.sse import HEARTBEAT, event_block, one_line, plain_events

if TYPE_CHECKING:
    from .._asgi import Headers, Send
    from ..context import RequestContext
    from ..invocations.subscriber import Subscriber
    from ..invocations.transcript import Transcript

_REPLAYED = (IDEMPOTENCY_REPLAYED_HEADER.lower().encode(), b"true")


class Responder:
    """The answer to one subscriber.

    Args:
        invocation: What it subscribes to.
        subscriber: Who is answered.
        send: Where to.
        headers: Response headers that say which call this was.
        context: Of the request; further headers may be noted in it until the answer goes out.
    """

    def __init__(
        self,
        invocation: Transcript,
        subscriber: Subscriber,
        send: Send,
        headers: Headers,
        context: RequestContext | None = None,
    ) -> None:
        self._invocation = invocation
        self._subscriber = subscriber
        self._send = send
        self._own_headers = headers
        self._context = context

    @classmethod
    def to(
        cls, invocation: Transcript, subscriber: Subscriber, send: Send, context: RequestContext, *, replayed: bool
    ) -> Responder:
        """Return the answer to a `POST`.

        Args:
            invocation: See the class, as for what follows.
            replayed: An earlier request with the same key began the invocation.
        """
        headers = identity_headers(context.request_id, context.session_id, invocation.id)
        return cls(invocation, subscriber, send, [*headers, _REPLAYED] if replayed else headers, context)

    @property
    def _headers(self) -> Headers:
        return self._own_headers if self._context is None else self._own_headers + self._context.response_headers

    async def answer(self, wants: Literal["json", "stream"] | None, *, numbered: bool) -> None:
        """Wait for the invocation and answer in the form that is wanted, or in its own.

        Raises:
            EventsEvictedError: The beginning of what is wanted is not held any more.
            ClientGoneError: The caller hung up.
            AnswerCutError: A response object of the handler broke after it had begun.
        """
        invocation, subscriber = self._invocation, self._subscriber
        if wants != "stream":
            await subscriber.until(lambda: invocation.has_form)
        if wants == "stream" or (wants is None and invocation.form == "stream"):
            subscriber.read_from_start()
            await self.events(numbered=numbered)
        elif invocation.form == "stream":
            subscriber.read_from_start()
            await self.whole(await subscriber.chunks())
        else:
            await subscriber.until(lambda: invocation.is_over)
            await self.whole()

    async def accepted(self, location: bytes) -> None:
        """Answer 202 as soon as the invocation will not be refused any more, or say why it was.

        Raises:
            ClientGoneError: The caller hung up.
        """
        invocation = self._invocation
        await self._subscriber.until(lambda: invocation.is_accepted)
        if invocation.is_refused and invocation.started_at is None:
            return await self.whole()
        headers: Headers = [*self._headers, (b"location", location), (b"preference-applied", b"respond-async")]
        await send_json(self._send, 202, resource_of(invocation), headers)

    async def resource(self, wait_seconds: float) -> None:
        """Send the invocation as it is, after waiting for its end for `wait_seconds` at most.

        Raises:
            ClientGoneError: The caller hung up.
        """
        invocation = self._invocation
        if wait_seconds > 0:
            await self._subscriber.until(lambda: invocation.is_over, wait_seconds)
        await send_json(self._send, 200, resource_of(invocation), self._headers)

    async def whole(self, chunks: list[bytes] | None = None) -> None:
        """Send the whole answer of an invocation that is over, unless the caller has it already.

        Args:
            chunks: Those of a stream, where somebody has them all.

        Raises:
            EventsEvictedError: It is not held any more.
            AnswerCutError: A response object of the handler broke after it had begun.
        """
        invocation, answer = self._invocation, self._invocation.answer
        assert answer is not None
        if self._subscriber.took_response and invocation.head_sent:
            if invocation.state != "succeeded":
                raise AnswerCutError
            return None
        if invocation.form != "response" or invocation.state != "succeeded":
            body = invocation.whole_answer(chunks)
            self._count(body)
            return await send_json(self._send, answer.status, body, [*self._headers, *answer.headers])
        if answer.body is None:
            raise EventsEvictedError(
                "The agent answered with a response that can be sent only once, and it was sent to another caller.",
                first_event_id=invocation.last_event_id,
            )
        self._count(answer.body)
        headers = [*answer.headers, *self._headers]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": answer.body})

    async def events(self, *, numbered: bool, resumes: bool = False) -> None:
        """Send the events from the subscriber's position on to the end of the log, all that are there at each turn.

        A comment goes out whenever nothing has for the subscriber's heartbeat. The headers wait for the first event,
        one heartbeat at most, so that an early failure gets a status of its own.

        Args:
            numbered: As protocol 1 has it, else as `data:` lines.
            resumes: The caller has had events before.

        Raises:
            EventsEvictedError: The answer is not held any more.
            ClientGoneError: The caller hung up.
            AnswerCutError: A response object of the handler broke after it had begun.
        """
        invocation, subscriber, log, send = self._invocation, self._subscriber, self._subscriber.log, self._send
        while True:
            taken = await subscriber.take()
            at_end = subscriber.at_end
            if subscriber.took_response:  # and is sent it at this moment
                if at_end:
                    return await self.whole()
                continue
            data = log.wire(taken, numbered=numbered, at_end=at_end) if taken or at_end else HEARTBEAT
            if not subscriber.begun:
                if at_end and not resumes and invocation.said_nothing(numbered=numbered):
                    return await self.whole()  # a true status, while it is not too late for one
                if not (data or at_end):
                    continue  # nothing that this caller is told of
                await self._begin(numbered=numbered)
            if at_end and invocation.form == "response" and invocation.state == "succeeded" and not resumes:
                data = self._late_response(numbered=numbered)
            self._count(data)
            if at_end:
                return await send({"type": "http.response.body", "body": data})
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _begin(self, *, numbered: bool) -> None:
        self._subscriber.begun = True
        if numbered:
            self._subscriber.channel = None
        headers = [*STREAM_HEADERS, *self._headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    def _late_response(self, *, numbered: bool) -> bytes:
        """Return an error at the end of a stream that only this caller is told of."""
        invocation = self._invocation
        context = invocation.context
        problem = error_response(came_too_late(), request_id=context.request_id, tells_errors=True)
        envelope = one_line(problem.envelope(context.request_id, context.session_id))
        return event_block(b"error", invocation.last_event_id, envelope) if numbered else plain_events([envelope])

    def _count(self, data: bytes) -> None:
        if not self._invocation.durable:
            self._invocation.sent_bytes += len(data)


def resource_of(invocation: Transcript) -> bytes:
    """Return an invocation as JSON; where the result is not held as one value, `first_event_id` says so."""
    response, first_event_id = b"null", None
    if invocation.answer is not None:
        try:
            response = invocation.whole_answer()
        except EventsEvictedError as error:
            response, first_event_id = invocation.answer.envelope, error.first_event_id
    created_at = invocation.created_at or time.time() - invocation.context.elapsed()
    started_at = invocation.started_at
    if started_at is None and invocation.state == "running":  # nobody can come back to it: that is not noted
        started_at = created_at
    facts = {
        "invocation_id": invocation.id,
        "state": invocation.state,
        "created_at": _iso_time(created_at),
        "started_at": _iso_time(started_at),
        "finished_at": _iso_time(invocation.finished_at),
        "last_event_id": invocation.last_event_id,
        "first_event_id": first_event_id,
    }
    return b'%b,"response":%b}' % (to_json(facts)[:-1], response)


def _iso_time(moment: float | None) -> str | None:
    """Return a time in unix seconds as ISO 8601 has it, in UTC."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
