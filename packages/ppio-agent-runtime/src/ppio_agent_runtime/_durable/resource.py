"""`/invocations/{id}`: an invocation as a resource, to look at, to read on from, to cancel."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from ppio_agent_models import (
    INVOCATION_ID_HEADER,
    LAST_EVENT_ID_HEADER,
    BadRequestError,
    InvocationCancelledError,
    MethodNotAllowedError,
    NotFoundError,
)

from .._corridor.respond import STREAM_HEADERS, identity_headers, log_failure
from .._http.headers import by_name, request_id_of
from .._problems import ClientGoneError, problem_of, send_problem
from .._records.record import QUEUED, RUNNING
from .._records.resource_json import iso_time, resource_json
from .attend import Attendance, send_json

if TYPE_CHECKING:
    from .._asgi import Headers, Receive, Scope, Send
    from .._engine.context import RequestContext
    from .._engine.invocations import Invocations
    from .._engine.run import Run
    from .._records.record import Record
    from ..config import AgentConfig
    from .invocations import DurableInvocations

_INVOCATION_ID = INVOCATION_ID_HEADER.lower().encode()
_LAST_EVENT_ID = LAST_EVENT_ID_HEADER.lower().encode()
_MAX_WAIT_SECONDS = 300.0
_MAX_DIGITS = 18


class InvocationResources:
    """The ASGI endpoint for everything below `/invocations/`.

    Args:
        config: How callers are treated.
        invocations: What is running.
        durable: What is held besides.
        has_door: Runs may have to wait before they are admitted.
    """

    def __init__(
        self, config: AgentConfig, invocations: Invocations, durable: DurableInvocations, *, has_door: bool
    ) -> None:
        self._config = config
        self._has_door = has_door
        self._invocations = invocations
        self._durable = durable

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Args:
            path: What follows `/invocations/`.
        """
        request_id = request_id_of(by_name(scope["headers"]))
        headers = identity_headers(request_id, None)
        try:
            await self._answer(path, scope, receive, send, headers)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001  # every error on every route is an envelope
            problem = problem_of(error, request_id=request_id, tells_errors=self._config.tells_errors)
            if problem.status >= 500:
                log_failure(error, request_id)
            if isinstance(error, MethodNotAllowedError):
                headers.append((b"allow", b"GET, HEAD" if path.endswith("/events") else b"GET, HEAD, DELETE"))
            await send_problem(send, problem, request_id=request_id, session_id=None, headers=headers)

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
        record = await self._durable.find(invocation_id)
        if record is not None:
            return await self._attendance(record, headers).resource(wait_seconds, receive, send)
        run = self._invocations.find(invocation_id)
        if run is None:
            raise _unknown(invocation_id)
        await send_json(send, 200, self._running(run), headers)

    async def _events(self, invocation_id: str, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        record = await self._durable.find(invocation_id)
        if record is None:
            raise _unknown(invocation_id)
        after = _last_event_id(scope)
        if record.was_interrupted:
            record.log.resume_at(after + 1)
        if after > record.last_event_id:
            raise BadRequestError(
                f"The event {after} does not exist yet; the newest of invocation {invocation_id} is "
                f"{record.last_event_id}."
            )
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS + headers})
            return await send({"type": "http.response.body", "body": b""})
        await self._attendance(record, headers).events(after, receive, send)

    async def _cancel(self, invocation_id: str, send: Send, headers: Headers) -> None:
        record = await self._durable.find(invocation_id)
        if record is not None:
            status = 200 if record.is_over else 202
            record.cancel()
            return await send_json(send, status, record.resource(), [*headers, _names(record.invocation_id)])
        run = self._invocations.find(invocation_id)
        if run is None:
            raise _unknown(invocation_id)
        run.stop(InvocationCancelledError("The invocation was cancelled."))
        await send_json(send, 202, self._running(run), [*headers, _names(invocation_id)])

    def _running(self, run: Run) -> bytes:
        return _running_resource(run.context, is_queued=self._has_door and not run.admitted)

    def _attendance(self, record: Record, headers: Headers) -> Attendance:
        named = [*headers, _names(record.invocation_id)]
        return Attendance(self._invocations, self._config.heartbeat_seconds, record, named)


def _running_resource(context: RequestContext, *, is_queued: bool) -> bytes:
    """Return an invocation that was not asked for durably, and so can only be seen while it runs."""
    began = iso_time(time.time() - context.elapsed())
    return resource_json(
        b"null",
        invocation_id=context.invocation_id,
        state=QUEUED if is_queued else RUNNING,
        created_at=began,
        started_at=None if is_queued else began,
        finished_at=None,
        last_event_id=0,
        first_event_id=None,
    )


def _names(invocation_id: str) -> tuple[bytes, bytes]:
    return (_INVOCATION_ID, invocation_id.encode())


def _unknown(invocation_id: str) -> NotFoundError:
    return NotFoundError(
        f"There is no invocation {invocation_id[:80]!r} here: it never ran in this process, was not asked for durably, "
        "or is not held any more."
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
