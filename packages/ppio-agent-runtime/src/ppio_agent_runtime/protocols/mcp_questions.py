"""The agent's interrupts as MCP elicitation: sent within a session, or as the result of a call that stands alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from ppio_agent_models import InvocationTimeoutError

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

_FIELD: Final = "answer"
_WHOLE: Final = "whole:"
"""Prefix of the key of a question whose form is the payload; otherwise its only field is."""
_SIMPLE: Final = frozenset({"string", "number", "integer", "boolean"})
_APPROVAL: Final = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["approved"],
}


def can_ask(ctx: ServerRequestContext) -> bool:
    """Return whether the client supports questions to its user."""
    capabilities = ctx.session.client_capabilities
    elicitation = None if capabilities is None else capabilities.elicitation
    if elicitation is None or (elicitation.form is None and elicitation.url is not None):
        return False
    return stands_alone(ctx) or ctx.session.can_send_request


def stands_alone(ctx: ServerRequestContext) -> bool:
    """Return whether questions can't be sent during a call, and so are its result."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def questions_of(interrupts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return interrupts as elicitation requests, by keys that their answers have too."""
    return dict(map(_question, interrupts))


async def ask(ctx: ServerRequestContext, interrupts: list[dict[str, Any]], timeout: float) -> list[dict[str, Any]]:
    """Ask the client's user one question after another, and return the answers for the agent.

    Raises:
        InvocationTimeoutError: They are not answered within `timeout` seconds.
    """
    answers: dict[str, Any] = {}
    try:
        async with asyncio.timeout(timeout):
            for key, question in questions_of(interrupts).items():
                form = question.params
                assert isinstance(form, ElicitRequestFormParams)
                answers[key] = await ctx.session.elicit_form(form.message, form.requested_schema, ctx.request_id)
    except TimeoutError:
        raise InvocationTimeoutError(f"The agent's question was not answered within {timeout:g} s.") from None
    return answers_of(answers) or []


def answers_of(answers: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """Return the answers in the form for the agent, or None if there are none."""
    made = [_answer(key, answer) for key, answer in (answers or {}).items() if isinstance(answer, ElicitResult)]
    return made or None


def _answer(key: str, answer: ElicitResult) -> dict[str, Any]:
    kind, _, interrupt_id = key.partition(":")
    if answer.action != "accept":
        return {"interrupt_id": interrupt_id, "status": "cancelled"}
    content = answer.content or {}
    payload = content if f"{kind}:" == _WHOLE else content.get(_FIELD)
    return {"interrupt_id": interrupt_id, "status": "resolved", "payload": payload}


def _question(interrupt: dict[str, Any]) -> tuple[str, ElicitRequest]:
    schema: dict[str, Any] = interrupt.get("responseSchema") or {}
    if not schema and interrupt.get("toolCallId") is not None:
        schema = _APPROVAL
    kind = _WHOLE
    if not _is_form(schema):
        answer = schema if _is_simple(schema) else {"type": "string"}
        kind, schema = "field:", {"type": "object", "properties": {_FIELD: answer}, "required": [_FIELD]}
    message = str(interrupt.get("message") or interrupt.get("reason") or "The agent has a question.")
    form = ElicitRequestFormParams(message=message, requested_schema=schema)
    return f"{kind}{interrupt['id']}", ElicitRequest(params=form)


def _is_form(schema: Any) -> bool:
    """Return whether a schema is allowed for a form: an object of simple values."""
    fields = schema.get("properties") if isinstance(schema, dict) and schema.get("type") == "object" else None
    return isinstance(fields, dict) and bool(fields) and all(map(_is_simple, fields.values()))


def _is_simple(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") in _SIMPLE
