"""`POST /invocations`: read, parse, start, respond."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ppio_agent_models import IDEMPOTENCY_REPLAYED_HEADER

from ..asgi import UNACKNOWLEDGED
from ..context import RequestContext, current_context
from ..errors import ClientGoneError
from ..http.call import parse, parse_head, parse_large
from ..http.request import INSTANCE, body_too_slow, by_name, given_request_id, read_body
from ..http.responses import AnswerCutError, envelope, headers_of, identity_headers, log_failure, send_error, send_json
from ..invocations.executor import is_stream
from ..invocations.manager import draining_error, stream_timeout
from ..invocations.subscriber import Channel
from ..large_json import is_slow
from .invocation_resource import Responder

if TYPE_CHECKING:
    from ..asgi import Receive, Scope, Send
    from ..handler import Handler
    from ..http.call import Durability, InvocationCall
    from ..http.request import Form
    from ..invocations.invocation import Invocation
    from ..invocations.manager import InvocationManager
    from ..invocations.transcript import Transcript

_REPLAYED = (IDEMPOTENCY_REPLAYED_HEADER.lower().encode(), b"true")


class InvocationsEndpoint:
    """The ASGI endpoint of calls to the agent; all errors are handled in `__call__`."""

    def __init__(self, manager: InvocationManager) -> None:
        self._config = manager.config
        self._manager = manager
        self._forced: set[asyncio.Task[None]] = set()
        manager.force_response = self._force_response

    @property
    def handler(self) -> Handler | None:
        """The agent's function, once it is registered."""
        return self._manager.handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        manager = self._manager
        found = by_name(scope["headers"])
        request_id = given_request_id(found)
        context: RequestContext | None = None
        invocation: Invocation | None = None
        try:
            handler = manager.registered()
            head = parse_head(found)
            body = await self._read(found, receive)
            manager.durable.check_instance(found.get(INSTANCE))
            asked = scope, found, head, body, request_id, self._config, handler
            call = await parse_large(*asked) if is_slow(body) else parse(*asked)
            context = call.context
            if call.durability is not None:
                channel, wanted = Channel(scope, receive, send), found.get(INSTANCE)
                return await self._answer_durably(call, call.durability, channel, wanted)
            invocation = manager.begin(context, receive, send)
            token = current_context.set(context)  # until the last byte is sent
            try:
                await self._answer(invocation, call, handler, scope, receive, send)
            except BaseException as error:
                manager.finish(invocation, error)
                raise
            else:
                manager.finish(invocation, None)
            finally:
                current_context.reset(token)
        except ClientGoneError:
            return None
        except AnswerCutError as error:
            cause = error.__cause__
            if context is not None and cause is not None and not isinstance(cause, ClientGoneError):
                log_failure(cause, context.request_id, context)
        except Exception as error:  # noqa: BLE001  # every exception becomes a response here
            if invocation is None:
                manager.refused(error)
            if invocation is None or not invocation.forced:
                await self._refuse(error, request_id, context, send)

    async def _answer(
        self, invocation: Invocation, call: InvocationCall, handler: Handler, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Respond to a call that is not durable: a value is made in this task, a stream in another one."""
        context = call.context
        if call.wants == "stream":
            return await self._stream(
                invocation, invocation.work(handler, call.payload), call, Channel(scope, receive, send)
            )
        outcome = await invocation.call(handler, call.payload)
        if type(outcome) is bytes:
            body = envelope(outcome, context.request_id, context.session_id, context.elapsed())
            invocation.sent_bytes = len(body)
            await send_json(send, 200, body, headers_of(context))
        elif is_stream(outcome):
            await self._stream(invocation, invocation.complete(outcome), call, Channel(scope, receive, send))
        else:
            await invocation.send_response(outcome, Channel(scope, receive, send))

    async def _stream(
        self, invocation: Invocation, working: Coroutine[Any, Any, None], call: InvocationCall, channel: Channel
    ) -> None:
        invocation.wants = call.wants or "stream"
        invocation.typed = call.typed or self._manager.registered().yields_events
        # A stream that is collected to a value has the time limit of a value.
        invocation.stream_timeout = call.context.timeout if call.wants == "json" else stream_timeout(call, self._config)
        invocation.start(working, answered_by_request=True)
        await self._respond(invocation, call, invocation.wants, channel)

    async def _answer_durably(
        self, call: InvocationCall, durability: Durability, channel: Channel, wanted: bytes | None
    ) -> None:
        """Respond to a durable call: start it, or find it by its key."""
        invocation, replayed = await self._manager.begin_durable(call, durability, wanted)
        if replayed:
            return await self._respond(invocation, call, call.wants, channel, replayed=True)
        token = current_context.set(call.context)  # until the last byte is sent
        try:
            await self._respond(invocation, call, call.wants, channel)
        finally:
            current_context.reset(token)

    async def _respond(
        self,
        invocation: Transcript,
        call: InvocationCall,
        wants: Form | None,
        channel: Channel,
        *,
        replayed: bool = False,
    ) -> None:
        context, seconds = call.context, self._config.heartbeat_seconds
        headers = identity_headers(context.request_id, context.session_id, invocation.id)
        if replayed:
            headers.append(_REPLAYED)
        subscriber = invocation.subscribe(
            receive=channel.receive,
            heartbeat_seconds=seconds,
            channel=channel,
            unacknowledged=channel.scope.get(UNACKNOWLEDGED),
        )
        with subscriber:
            responder = Responder(invocation, subscriber, channel.send, headers, context)
            if call.durability is not None and call.durability.background:
                subscriber.channel = None
                location = f"{channel.scope.get('root_path', '')}/invocations/{invocation.id}"
                await responder.accepted(location.encode())
            else:
                await responder.answer(wants, numbered=call.numbered, typed=call.typed)

    async def _read(self, found: dict[bytes, bytes], receive: Receive) -> bytes:
        """Read the body within the limits of size and time."""
        manager, config, task = self._manager, self._config, asyncio.current_task()
        assert task is not None
        if manager.draining:
            raise draining_error()
        manager.ticker.limit(task, config.request_read_timeout_seconds)
        in_time = True
        try:
            return await read_body(receive, found.get(b"content-length"), config.max_request_size)
        except asyncio.CancelledError:
            in_time = manager.ticker.release(task)
            if in_time or task.uncancel() > 0:
                raise
            if manager.draining:
                raise draining_error() from None
            raise body_too_slow(config) from None
        finally:
            if in_time:
                manager.ticker.release(task)

    def _force_response(self, invocation: Invocation) -> None:
        """Respond to the caller of a stopped handler that still runs."""
        reason, send = invocation.cancel_scope.reason, invocation.send
        assert reason is not None
        assert send is not None
        if isinstance(reason, ClientGoneError):
            return
        context = invocation.context
        refusing = self._refuse(reason, context.request_id, context, send)
        task = asyncio.get_running_loop().create_task(refusing)
        self._forced.add(task)
        task.add_done_callback(self._forced.discard)

    async def _refuse(
        self, error: Exception, request_id: str | None, context: RequestContext | None, send: Send
    ) -> None:
        if request_id is None:
            request_id = (context or RequestContext()).request_id
        await send_error(send, error, request_id, context, tells_errors=self._config.tells_errors)
