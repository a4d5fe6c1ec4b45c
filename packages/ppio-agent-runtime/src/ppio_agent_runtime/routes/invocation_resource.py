"""`/invocations/{id}`: an invocation as a resource, to inspect, resume or cancel; and the responses to its callers.

A `Responder` responds to the caller that started it, to one that comes back, and to one with the same key: with JSON, a
stream, a 202, or the resource.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs

from pydantic_core import to_json

from ppio_agent_models import (
    INVOCATION_ID_HEADER,
    LAST_EVENT_ID_HEADER,
    BadRequestError,
    EventsEvictedError,
    MethodNotAllowedError,
    NotFoundError,
)

from ..asgi import UNACKNOWLEDGED
from ..errors import ClientGoneError, error_response
from ..http.call import wants_events
from ..http.request import INSTANCE, by_name, request_id_of
from ..http.responses import (
    STREAM_HEADERS,
    TYPED_EVENTS,
    AnswerCutError,
    came_too_late,
    identity_headers,
    send_error,
    send_json,
)
from ..http.sse import HEARTBEAT, event_block, one_line, plain_events
from ..invocations.event_log import NOT_READING

if TYPE_CHECKING:
    from ..asgi import Headers, Receive, Scope, Send
    from ..context import RequestContext
    from ..invocations.manager import InvocationManager
    from ..invocations.subscriber import Subscriber
    from ..invocations.transcript import Transcript

_INVOCATION_ID = INVOCATION_ID_HEADER.lower().encode()
_LAST_EVENT_ID = LAST_EVENT_ID_HEADER.lower().encode()
_MAX_WAIT_SECONDS = 300.0
_MAX_DIGITS = 18


class InvocationResource:
    """The ASGI endpoint for everything below `/invocations/`."""

    def __init__(self, manager: InvocationManager) -> None:
        self._config = manager.config
        self._manager = manager

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request.

        Args:
            path: What follows `/invocations/`.
        """
        found = by_name(scope["headers"])
        request_id = request_id_of(found)
        headers = identity_headers(request_id, None)
        try:
            self._manager.durable.check_instance(found.get(INSTANCE))
            await self._answer(path, scope, receive, send, headers)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001  # every error on every route is an envelope
            allowed: Headers = []
            if isinstance(error, MethodNotAllowedError):
                allowed = [(b"allow", b"GET, HEAD" if path.endswith("/events") else b"GET, HEAD, DELETE")]
            tells_errors = self._config.tells_errors
            await send_error(send, error, request_id, None, tells_errors=tells_errors, more_headers=allowed)

    async def _answer(self, path: str, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        invocation_id, slash, rest = path.partition("/")
        is_log = rest == "events"
        if slash and not is_log:
            raise NotFoundError(f"There is no route {'/invocations/' + path[:200]!r}.")
        if scope["method"] == "DELETE" and not is_log:
            return await self._cancel(invocation_id, send, headers)
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowedError(f"{scope['path'][:200]} does not take {scope['method'][:20]}.")
        answer = self._events if is_log else self._show
        await answer(invocation_id, scope, receive, send, headers)

    async def _show(self, invocation_id: str, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        wait_seconds = _wait_seconds(scope)
        invocation = await self._find(invocation_id)
        if not invocation.durable:
            return await send_json(send, 200, resource_of(invocation), headers)
        named = [*headers, _names(invocation)]
        with invocation.subscribe(position=NOT_READING, receive=receive) as subscriber:
            await Responder(invocation, subscriber, send, named).resource(wait_seconds)

    async def _events(self, invocation_id: str, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        invocation = await self._find(invocation_id)
        if not invocation.durable:
            raise _unknown(invocation_id)
        after = _last_event_id(scope)
        await invocation.reach(after)
        if invocation.interrupted:
            invocation.resume_interrupted(after)
        if after > invocation.last_event_id:
            raise BadRequestError(
                f"The event {after} does not exist yet; the newest of invocation {invocation_id} is "
                f"{invocation.last_event_id}."
            )
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS + headers})
            return await send({"type": "http.response.body", "body": b""})
        named = [*headers, _names(invocation)]
        seconds, typed = self._config.heartbeat_seconds, wants_events(by_name(scope["headers"]))
        subscriber = invocation.subscribe(
            position=after,
            receive=receive,
            heartbeat_seconds=seconds,
            unacknowledged=scope.get(UNACKNOWLEDGED),
        )
        with subscriber:
            await Responder(invocation, subscriber, send, named).resumed(typed=typed)

    async def _cancel(self, invocation_id: str, send: Send, headers: Headers) -> None:
        invocation = await self._find(invocation_id)
        status = 200 if invocation.is_over else 202
        invocation.cancel()
        if invocation.cancelling is not None:
            await invocation.cancelling
        await send_json(send, status, resource_of(invocation), [*headers, _names(invocation)])

    async def _find(self, invocation_id: str) -> Transcript:
        invocation = await self._manager.durable.find(invocation_id)
        if invocation is None:
            raise _unknown(invocation_id)
        return invocation


def _names(invocation: Transcript) -> tuple[bytes, bytes]:
    return (_INVOCATION_ID, invocation.id.encode())


def _unknown(invocation_id: str) -> NotFoundError:
    return NotFoundError(
        f"There is no invocation {invocation_id[:80]!r} here: it never ran in this process, was not durable, "
        "or is no longer kept."
    )


def _wait_seconds(scope: Scope) -> float:
    given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("wait")
    if given is None:
        return 0.0
    try:
        seconds = float(given[-1])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _MAX_WAIT_SECONDS:
        raise BadRequestError(f"wait must be a number of seconds from 0 to {_MAX_WAIT_SECONDS:g}.")
    return seconds


def _last_event_id(scope: Scope) -> int:
    given = next((value for name, value in scope["headers"] if name == _LAST_EVENT_ID), b"")
    if not given:
        return 0
    if not given.isdigit() or len(given) > _MAX_DIGITS:
        raise BadRequestError(f"The header {LAST_EVENT_ID_HEADER} must be the number of an event.")
    return int(given)


class Responder:
    """The response to one subscriber.

    Args:
        invocation: The invocation.
        subscriber: The subscriber.
        send: Sends the response.
        headers: Response headers with the IDs of the call.
        context: The context of the request; headers that are added to it before the response starts are sent too.
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

    @property
    def _headers(self) -> Headers:
        return self._own_headers if self._context is None else self._own_headers + self._context.response_headers

    async def answer(self, wants: Literal["json", "stream"] | None, *, numbered: bool, typed: bool = False) -> None:
        """Wait for the invocation, and respond in the requested form, or in its own; see `events`.

        Raises:
            EventsEvictedError: The beginning of the stream is no longer kept.
            ClientGoneError: The caller disconnected.
            AnswerCutError: A response object of the handler failed after it had begun.
        """
        invocation, subscriber = self._invocation, self._subscriber
        if wants != "stream":
            await subscriber.until(lambda: invocation.has_form)
        if wants == "stream" or (wants is None and invocation.form == "stream"):
            subscriber.read_from_start()
            await self.events(numbered=numbered, typed=typed)
        elif invocation.form == "stream":
            subscriber.read_from_start()
            await self.whole(await subscriber.chunks())
        else:
            await subscriber.until(lambda: invocation.is_over)
            await self.whole()

    async def accepted(self, location: bytes) -> None:
        """Respond with 202 once the invocation is accepted, or with the error if it is refused.

        Raises:
            ClientGoneError: The caller disconnected.
        """
        invocation = self._invocation
        await self._subscriber.until(lambda: invocation.is_accepted)
        if invocation.is_refused and invocation.started_at is None:
            return await self.whole()
        headers: Headers = [*self._headers, (b"location", location), (b"preference-applied", b"respond-async")]
        await send_json(self._send, 202, resource_of(invocation), headers)

    async def resource(self, wait_seconds: float) -> None:
        """Send the current state of the invocation, after waiting for its end for `wait_seconds` at most.

        Raises:
            ClientGoneError: The caller disconnected.
        """
        invocation = self._invocation
        if wait_seconds > 0:
            await self._subscriber.until(lambda: invocation.is_over, wait_seconds)
        await send_json(self._send, 200, resource_of(invocation), self._headers)

    async def whole(self, chunks: list[bytes] | None = None) -> None:
        """Send the whole response of an invocation that is over, unless the caller has it already.

        Args:
            chunks: All chunks of a stream, if the caller has them.

        Raises:
            EventsEvictedError: It is no longer kept.
            AnswerCutError: A response object of the handler failed after it had begun.
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
                "The agent returned a response that can be sent only once, and it was sent to another caller.",
                first_event_id=invocation.last_event_id,
            )
        self._count(answer.body)
        headers = [*answer.headers, *self._headers]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": answer.body})

    async def resumed(self, *, typed: bool) -> None:
        """Send the events after the last one that the caller has; if there are none yet, begin with a heartbeat.

        Raises:
            Exception: As for `events`.
        """
        invocation, subscriber = self._invocation, self._subscriber
        if 0 < subscriber.position == invocation.last_event_id and not invocation.is_over:
            await self._begin(numbered=True, typed=typed and subscriber.log.typed)
            await self._send({"type": "http.response.body", "body": HEARTBEAT, "more_body": True})
        await self.events(numbered=True, typed=typed, resumes=True)

    async def events(self, *, numbered: bool, typed: bool = False, resumes: bool = False) -> None:
        """Send the events from the subscriber's position to the end of the log, each time all that are available.

        After each heartbeat interval without an event, a comment is sent. The headers wait for the first event, one
        heartbeat at most, so that an early failure gets an error status.

        Args:
            numbered: In protocol 1, else as `data:` lines.
            typed: As AG-UI events, if the invocation has such; a response header says so.
            resumes: The caller already has some events.

        Raises:
            EventsEvictedError: The response is no longer kept.
            ClientGoneError: The caller disconnected.
            AnswerCutError: A response object of the handler failed after it had begun.
        """
        invocation, subscriber, log, send = self._invocation, self._subscriber, self._subscriber.log, self._send
        while True:
            taken = await subscriber.take()
            at_end = subscriber.at_end
            if subscriber.took_response:  # a response object is being sent to it
                if at_end:
                    return await self.whole()
                continue
            data = log.wire(taken, numbered=numbered, at_end=at_end, typed=typed)
            if not subscriber.begun:
                if at_end and not resumes and invocation.said_nothing(numbered=numbered):
                    return await self.whole()  # with an error status, because no headers were sent yet
                if not (data or at_end):
                    continue  # no event for this caller
                await self._begin(numbered=numbered, typed=typed and log.typed)
            if at_end and invocation.form == "response" and invocation.state == "succeeded" and not resumes:
                data = self._late_response(numbered=numbered)
            self._count(data)
            if at_end:
                return await send({"type": "http.response.body", "body": data})
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _begin(self, *, numbered: bool, typed: bool) -> None:
        self._subscriber.begun = True
        if numbered:
            self._subscriber.channel = None
        headers = [*STREAM_HEADERS, *self._headers]
        if typed:
            headers.append(TYPED_EVENTS)
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    def _late_response(self, *, numbered: bool) -> bytes:
        """Return an error for the end of the stream, only for this caller."""
        invocation = self._invocation
        context = invocation.context
        problem = error_response(came_too_late(), request_id=context.request_id, tells_errors=True)
        envelope = one_line(problem.envelope(context.request_id, context.session_id))
        return event_block(b"error", invocation.last_event_id, envelope) if numbered else plain_events([envelope])

    def _count(self, data: bytes) -> None:
        if not self._invocation.durable:
            self._invocation.sent_bytes += len(data)


def resource_of(invocation: Transcript) -> bytes:
    """Return an invocation as JSON; if its result is no longer kept, it has `first_event_id`."""
    response, first_event_id = b"null", None
    if invocation.answer is not None:
        try:
            response = invocation.whole_answer()
        except EventsEvictedError as error:
            response, first_event_id = invocation.answer.envelope, error.first_event_id
    created_at = invocation.created_at or time.time() - invocation.context.elapsed()
    started_at = invocation.started_at
    if started_at is None and invocation.state == "running":  # only recorded for durable ones
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
    """Return a time in unix seconds as ISO 8601 in UTC."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
