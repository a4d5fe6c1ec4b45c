"""Responses (https://platform.openai.com/docs/api-reference/responses): create, retrieve, cancel.

The session is that of the `conversation`, else that of the previous response, else a new one. A background response is
a durable invocation, `resp_<its ID>`, and can be retrieved while that is kept; any other can't.
"""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import BadRequestError, NotFoundError, PayloadValidationError

from .openai_input import checked_list, content_of, tools_of
from .openai_items import ResponseEncoder
from .writing import begin, collected, payload_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..invocations.handle import InvocationHandle
    from ..plugin_interface import PluginInterface

_MAX_KNOWN: Final = 1000
"""For how many responses their request is kept; the oldest are dropped first."""
_STATUS: Final = {"queued": "queued", "running": "in_progress", "succeeded": "completed", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True)
class Known:
    """What is kept of a request; `facts` are fields that its response repeats."""

    session_id: str
    facts: dict[str, Any]
    tools: frozenset[str]


class Responses:
    """The API of one app."""

    def __init__(self, app: PluginInterface) -> None:
        self._app = app
        self._known: OrderedDict[str, Known] = OrderedDict()

    async def create(self, request: Request) -> Any:
        """Handle `POST /v1/responses`."""
        body = await self._app.read_json(request)
        messages, resume = conversation_of(body)
        tools = tools_of(body)
        session_id = self._session_of(body) or self._new_session(request)
        context = self._app.context_for(request, session_id=session_id, protocol="openai")
        known = Known(context.session_id or "", self._facts(body), frozenset(str(tool["name"]) for tool in tools))
        skipped = ("input", "instructions", "tools", "stream")
        payload = payload_of(
            messages=messages,
            tools=tools,
            resume=resume,
            forwarded_props={name: value for name, value in body.items() if name not in skipped},
        )
        wants_stream = body.get("stream") is True
        if body.get("background") is True:
            handle = await self._app.submit(payload, context, key=request.headers.get("idempotency-key"))
            self._remember(handle.id, known)
            encoder = self._encoder(handle.id, known, handle.created_at)
            if wants_stream:
                return self._app.event_stream(handle, encoder)
            return self._app.json_response(await self._as_it_is(handle, encoder), handle.context)
        run = await begin(self._app, request, payload, context)
        self._remember(run.context.invocation_id, known)
        encoder = self._encoder(run.context.invocation_id, known, time.time())
        if wants_stream:
            await run.begun(request.receive)
            return self._app.event_stream(run, encoder)
        encoder.begin()
        encoder.events(await collected(run, request))
        encoder.done()
        return self._app.json_response(encoder.response("completed"), run.context)

    async def retrieve(self, request: Request) -> Any:
        """Handle `GET /v1/responses/{id}`, with `stream=true` as a stream after event `starting_after`."""
        handle = await self._find(request)
        encoder = self._encoder_of(handle)
        if request.query_params.get("stream") == "true":
            encoder.starting_after = _number(request.query_params.get("starting_after"))
            return self._app.event_stream(handle, encoder)
        return self._app.json_response(
            await self._as_it_is(handle, encoder), self._app.context_for(request), has_invocation=False
        )

    async def cancel(self, request: Request) -> Any:
        """Handle `POST /v1/responses/{id}/cancel`."""
        handle = await self._find(request)
        handle.cancel()
        await handle.finished(request.receive)
        encoder = self._encoder_of(handle)
        return self._app.json_response(
            await self._as_it_is(handle, encoder), self._app.context_for(request), has_invocation=False
        )

    async def _as_it_is(self, handle: InvocationHandle, encoder: ResponseEncoder) -> dict[str, Any]:
        encoder.begin()
        if handle.status == "succeeded":
            encoder.events(await handle.events())
            encoder.done()
        elif handle.error is not None and handle.status != "cancelled":
            encoder.failed(handle.error)
            return encoder.response("failed")
        return encoder.response(_STATUS[handle.status])

    async def _find(self, request: Request) -> InvocationHandle:
        given = request.path_params["id"]
        handle = await self._app.find(given.removeprefix("resp_"))
        if handle is None:
            raise NotFoundError(f"Response with id {given[:80]!r} not found: only background responses are kept.")
        return handle

    def _session_of(self, body: dict[str, Any]) -> str | None:
        conversation = body.get("conversation")
        given = conversation.get("id") if isinstance(conversation, dict) else conversation
        if isinstance(given, str) and given:
            return given
        previous = body.get("previous_response_id")
        if previous is None:
            return None
        known = self._known.get(str(previous).removeprefix("resp_"))
        if known is None:
            raise NotFoundError(f"Previous response with id {str(previous)[:80]!r} not found.")
        return known.session_id

    def _new_session(self, request: Request) -> str:
        """Return a new session ID, the same for requests with the same idempotency key."""
        key = request.headers.get("idempotency-key")
        known_by = f"{self._app.context_for(request).key_id}\n{key}"
        return f"conv_{(uuid.uuid4() if key is None else uuid.uuid5(uuid.NAMESPACE_OID, known_by)).hex}"

    def _facts(self, body: dict[str, Any]) -> dict[str, Any]:
        facts = {
            "model": body.get("model") or self._app.config.agent_name,
            "instructions": body.get("instructions"),
            "previous_response_id": body.get("previous_response_id"),
            "background": body.get("background") is True,
            "metadata": body.get("metadata") or {},
            "tools": body.get("tools") or [],
            "tool_choice": body.get("tool_choice") or "auto",
            "parallel_tool_calls": True,
        }
        conversation = body.get("conversation")
        if conversation is not None:
            facts["conversation"] = conversation if isinstance(conversation, dict) else {"id": conversation}
        return facts

    def _remember(self, invocation_id: str, known: Known) -> None:
        self._known[invocation_id] = known
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    def _encoder_of(self, handle: InvocationHandle) -> ResponseEncoder:
        known = self._known.get(handle.id) or Known(handle.context.session_id or "", self._facts({}), frozenset())
        return self._encoder(handle.id, known, handle.created_at)

    def _encoder(self, invocation_id: str, known: Known, created_at: float) -> ResponseEncoder:
        head = {"id": f"resp_{invocation_id}", "object": "response", "created_at": int(created_at), **known.facts}
        return ResponseEncoder(head, known.tools, self._app.config.agent_name)


def conversation_of(body: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Return the messages of a request, and its answers to the agent's interrupts.

    Raises:
        PayloadValidationError: It has no input.
    """
    if not isinstance(body, dict):
        raise PayloadValidationError("The body must be a JSON object.")
    items = [{"role": "user", "content": body["input"]}] if isinstance(body.get("input"), str) else None
    messages: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    if isinstance(body.get("instructions"), str):
        messages.append({"id": "instructions", "role": "system", "content": body["instructions"]})
    for number, item in enumerate(items or checked_list(body, "input")):
        if item.get("type") == "mcp_approval_response":
            payload = {"approved": item.get("approve") is True, "reason": item.get("reason")}
            answers.append({"interrupt_id": item.get("approval_request_id"), "status": "resolved", "payload": payload})
        elif (message := _message_of(item, str(item.get("id") or f"item-{number}"))) is not None:
            messages.append(message)
    return messages, answers or None


def _message_of(item: dict[str, Any], given: str) -> dict[str, Any] | None:
    kind = item.get("type", "message")
    if kind == "message":
        return {"id": given, "role": item.get("role"), "content": content_of(item.get("content"))}
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return {"id": given, "role": "assistant", "content": "", "toolCalls": [call]}
    if kind == "function_call_output":
        return {
            "id": given,
            "role": "tool",
            "toolCallId": item.get("call_id"),
            "content": content_of(item.get("output")),
        }
    return None  # items of the agent's own work


def _number(text: str | None) -> int:
    if text is None:
        return -1
    if not text.isdigit():
        raise BadRequestError("starting_after must be the sequence number of an event.")
    return int(text)
