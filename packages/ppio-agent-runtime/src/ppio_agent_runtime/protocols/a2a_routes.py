"""The routes of A2A: a2a-sdk dispatches requests to `TaskHandler`, and this module sends streams."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.server.routes import DefaultServerCallContextBuilder, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types.a2a_pb2 import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
)
from a2a.utils.error_handlers import build_rest_error_payload
from a2a.utils.errors import A2AError, InternalError, PushNotificationNotSupportedError, UnsupportedOperationError
from a2a.utils.proto_utils import validate_proto_required_fields
from a2a.utils.task import apply_history_length, validate_history_length, validate_page_size
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match, Route

from ppio_agent_models import MethodNotAllowedError, NotFoundError

from .a2a_card import card_of
from .a2a_following import Following
from .a2a_stream import Dialect, TaskEncoder
from .a2a_task import INPUT_REQUIRED
from .a2a_tasks import Tasks

if TYPE_CHECKING:
    from ..asgi import Message, Receive
    from ..invocations.handle import InvocationHandle
    from ..plugin_interface import PluginInterface
    from .a2a_task import Found

_CALL = "ppio_agent_runtime.a2a"
_WITH_BODY = ("message:send", "message:stream", "pushNotificationConfigs")


@dataclass(slots=True)
class Call:
    """What `TaskHandler` reports about a request besides its result.

    Attributes:
        context: The context that a2a-sdk created.
        failure: The error, if it is not an error of A2A.
        task: The task whose newest run the message started.
        first: That task, as the first event of its stream; None without a stream.
        is_followed: Whether the stream continues after questions of the task.
    """

    context: ServerCallContext | None = None
    failure: Exception | None = None
    task: Found | None = None
    first: Task | None = None
    is_followed: bool = False


class ContextBuilder(DefaultServerCallContextBuilder):  # type: ignore[misc]  # a2a-sdk is not there for mypy
    """Adds the request and our `Call` to the context of a2a-sdk."""

    def build(self, request: Request) -> ServerCallContext:
        """Return the context of a request."""
        context = super().build(request)
        call: Call = request.scope[_CALL]
        call.context = context
        context.state |= {"call": call, "request": request}
        return context


class A2ARoutes:
    """The routes of one app.

    Args:
        app: The app.
        path: The path of JSON-RPC.
        rest_path: The path of HTTP+JSON.
    """

    def __init__(self, app: PluginInterface, path: str, rest_path: str) -> None:
        logging.getLogger("a2a").setLevel(logging.CRITICAL)  # it logs request content; we log failures ourselves
        self._app = app
        self._paths = path, rest_path
        self._tasks = Tasks(app)
        handler, builder = TaskHandler(self._tasks), ContextBuilder()
        rest = create_rest_routes(handler, builder, enable_v0_3_compat=True, path_prefix=rest_path)
        # Some clients append a slash to the URL in the card.
        paths = {path, f"{path.rstrip('/')}/"}
        rpc = [
            route for each in paths for route in create_jsonrpc_routes(handler, each, builder, enable_v0_3_compat=True)
        ]
        self._routes = [route for route in [*rpc, *rest] if isinstance(route, Route)]  # no mount for tenants

    def card(self, request: Request) -> dict[str, Any]:
        """Return the agent's card, with the addresses under which this caller reaches it."""
        address = self._app.config.public_url or str(request.base_url)
        return card_of(self._app.config, address.rstrip("/"), *self._paths)

    async def answer(self, request: Request) -> Any:
        """Respond to a request.

        Raises:
            PPIOAgentRuntimeError: It was refused, with a status.
        """
        route = self._route_of(request)
        call = Call()
        receive = request.receive
        if request.method == "POST" and (not route.path.startswith(self._paths[1]) or route.path.endswith(_WITH_BODY)):
            receive = _again(to_json(await self._app.read_json(request)), receive)
        response = await route.endpoint(Request({**request.scope, _CALL: call}, receive))
        if call.first is None and call.failure is None and hasattr(response, "body_iterator"):
            response = await _begun(response)
        if call.failure is not None:
            raise call.failure
        if call.first is not None and call.task is not None:
            dialect = self._dialect(call, route)
            source: Following | InvocationHandle = call.task.runs[-1]
            if call.is_followed:
                source = Following(self._app, self._tasks, call.task, ends_with_question=dialect.is_v03)
            return self._app.event_stream(source, TaskEncoder(call.task, call.first, dialect))
        return response if hasattr(response, "body_iterator") else self._named(response, request, call)

    def _dialect(self, call: Call, route: Route) -> Dialect:
        """Return how to encode the stream of a route."""
        state = {} if call.context is None else call.context.state
        method = state.get("method", "")
        is_v03 = "/" in method if method else route.path.startswith(f"{self._paths[1]}/v1/")
        return Dialect(state.get("request_id"), is_rpc=bool(method), is_v03=is_v03)

    def _named(self, response: Any, request: Request, call: Call) -> Any:
        """Return a response of a2a-sdk, with IDs and limits in its headers."""
        context = self._app.context_for(request) if call.task is None else call.task.runs[-1].context
        named = self._app.json_response(json.loads(response.body), context, has_invocation=call.task is not None)
        named.status_code = response.status_code
        named.headers["content-type"] = response.headers["content-type"]
        return named

    def _route_of(self, request: Request) -> Route:
        matches = [(*route.matches(request.scope), route) for route in self._routes]
        for match, found, route in matches:
            if match is Match.FULL:
                request.scope.update(found)
                return route
        if any(match is Match.PARTIAL for match, _, _ in matches):
            raise MethodNotAllowedError(f"{request.url.path[:200]} does not take {request.method[:20]}.")
        raise NotFoundError(f"There is no route {request.url.path[:200]!r}.")


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns the body once, then what the original returns."""
    bodies = [body]

    async def receive_again() -> Message:
        return {"type": "http.request", "body": bodies.pop(), "more_body": False} if bodies else await receive()

    return receive_again


async def _begun(response: Any) -> Any:
    """Start a stream, which in version 0.3 calls the handler, and return it; if that fails, return the error."""
    items = response.body_iterator
    try:
        first = await anext(items)
    except A2AError as error:
        payload = build_rest_error_payload(error)
        return JSONResponse(payload, payload["error"]["code"])

    async def whole() -> AsyncIterator[Any]:
        yield first
        async for item in items:
            yield item

    response.body_iterator = whole()
    return response


class TaskHandler(RequestHandler):  # type: ignore[misc]  # a2a-sdk is not there for mypy
    """Handles requests of both bindings and versions for a2a-sdk.

    Args:
        tasks: The app's tasks.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Task:
        """Start or continue a task; wait until it ends or asks, unless the caller requests an immediate response."""
        with _carrying(context) as request:
            task = context.state["call"].task = await self._begin(params, request)
            if not params.configuration.return_immediately:
                await task.runs[-1].finished(request.receive)
            return apply_history_length(await task.complete(), params.configuration)

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Task]:
        """Start or continue a task, and yield it; `A2ARoutes` streams the rest."""
        with _carrying(context) as request:
            task = await self._begin(params, request)
            first = apply_history_length(await task.begun(), params.configuration)
            _stream(context, task, first)
        yield first

    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Task]:
        """Stream the task without its newest run, then that run from its beginning, and the runs that follow.

        A task that waits for an answer is sent with its question, and followed from the answer on.
        """
        with _carrying(context) as request:
            validate_proto_required_fields(params)
            task = await self._tasks.find(params.id, request)
            waits = task.status.state == INPUT_REQUIRED
            if not waits and task.runs[-1].status not in ("queued", "running"):
                raise UnsupportedOperationError(f"The task {task.id} is over; get it instead.")
            first = await task.complete() if waits else await task.begun()
            _stream(context, task, first, is_followed=True)
        yield first

    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Task:
        """Return a task."""
        with _carrying(context) as request:
            validate_proto_required_fields(params)
            validate_history_length(params)
            return apply_history_length(await (await self._tasks.find(params.id, request)).complete(), params)

    async def on_list_tasks(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """Return the caller's tasks, sorted and in pages, as a2a-sdk's store does."""
        with _carrying(context) as request:
            validate_history_length(params)
            if params.HasField("page_size"):
                validate_page_size(params.page_size)
            found = {task.id: task for task in await self._tasks.all_of(request)}
            store = InMemoryTaskStore()
            for task in found.values():
                await store.save(Task(id=task.id, context_id=task.context_id, status=task.status), context)
            page = await store.list(params, context)
            for listed in page.tasks:
                task = found[listed.id]
                whole = await task.complete() if params.include_artifacts else task.head()
                listed.CopyFrom(apply_history_length(whole, params))
            return page

    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task:
        """Cancel a task, and return it."""
        with _carrying(context) as request:
            validate_proto_required_fields(params)
            task = await self._tasks.find(params.id, request)
            await self._tasks.cancel(task, request)
            return await task.complete()

    async def on_get_extended_agent_card(self, params: Any, context: ServerCallContext) -> Any:
        """Refuse: there is no extended card."""
        raise UnsupportedOperationError("The agent has no extended card.")

    async def on_create_task_push_notification_config(self, params: Any, context: ServerCallContext) -> Any:
        """Refuse: push notifications are not supported."""
        raise PushNotificationNotSupportedError

    on_get_task_push_notification_config = on_create_task_push_notification_config
    on_list_task_push_notification_configs = on_create_task_push_notification_config
    on_delete_task_push_notification_config = on_create_task_push_notification_config

    async def _begin(self, params: SendMessageRequest, request: Request) -> Found:
        validate_proto_required_fields(params)
        validate_history_length(params.configuration)
        if params.configuration.HasField("task_push_notification_config"):
            raise PushNotificationNotSupportedError
        return await self._tasks.begin(params, request)


def _stream(context: ServerCallContext, task: Found, first: Task, *, is_followed: bool = False) -> None:
    call: Call = context.state["call"]
    call.task, call.first, call.is_followed = task, first, is_followed


@contextmanager
def _carrying(context: ServerCallContext) -> Iterator[Request]:
    """Yield the request, and pass errors that are not A2A's around a2a-sdk, so that they keep their status."""
    try:
        yield context.state["request"]
    except A2AError:
        raise
    except Exception as error:
        context.state["call"].failure = error
        raise InternalError from error
