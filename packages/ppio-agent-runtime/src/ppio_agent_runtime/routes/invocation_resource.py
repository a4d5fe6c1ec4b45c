"""`/invocations/{id}`: an invocation as a resource, to look at, to read on from, to cancel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from ppio_agent_models import (
    INVOCATION_ID_HEADER,
    LAST_EVENT_ID_HEADER,
    BadRequestError,
    MethodNotAllowedError,
    NotFoundError,
)

from ..errors import ClientGoneError, error_response, send_error_response
from ..http.request import by_name, request_id_of
from ..http.responses import STREAM_HEADERS, identity_headers, is_failure, log_failure, send_json
from ..invocations.event_log import NOT_READING
from .responder import Responder, resource_of

if TYPE_CHECKING:
    from ..asgi import Headers, Receive, Scope, Send
    from ..invocations.manager import InvocationManager
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
            problem = error_response(error, request_id=request_id, tells_errors=self._config.tells_errors)
            if is_failure(error, problem.status):
                log_failure(error, request_id)
            if isinstance(error, MethodNotAllowedError):
                headers.append((b"allow", b"GET, HEAD" if path.endswith("/events") else b"GET, HEAD, DELETE"))
            await send_error_response(send, problem, request_id=request_id, session_id=None, headers=headers)

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
        if invocation.was_interrupted:
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
        seconds = self._config.heartbeat_seconds
        with invocation.subscribe(position=after, receive=receive, heartbeat_seconds=seconds) as subscriber:
            await Responder(invocation, subscriber, send, named).events(numbered=True, resumes=True)

    async def _cancel(self, invocation_id: str, send: Send, headers: Headers) -> None:
        invocation = await self._find(invocation_id)
        status = 200 if invocation.is_over else 202
        invocation.cancel()
        await send_json(send, status, resource_of(invocation), [*headers, _names(invocation)])

    async def _find(self, invocation_id: str) -> Transcript:
        invocation = await self._manager.find(invocation_id)
        if invocation is None:
            raise _unknown(invocation_id)
        return invocation


def _names(invocation: Transcript) -> tuple[bytes, bytes]:
    return (_INVOCATION_ID, invocation.id.encode())


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
