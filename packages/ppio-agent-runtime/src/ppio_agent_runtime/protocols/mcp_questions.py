"""The agent's questions (interrupts) as elicitation: asked within a session, or as the answer of a call by itself."""

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
"""How the key of a question begins whose form is the payload; of others its one field is."""
_SIMPLE: Final = frozenset({"string", "number", "integer", "boolean"})
_APPROVAL: Final = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["approved"],
}


def can_ask(ctx: ServerRequestContext) -> bool:
    """Say whether the caller's user can be asked."""
    capabilities = ctx.session.client_capabilities
    elicitation = None if capabilities is None else capabilities.elicitation
    if elicitation is None or (elicitation.form is None and elicitation.url is not None):
        return False
    return stands_alone(ctx) or ctx.session.can_send_request


def stands_alone(ctx: ServerRequestContext) -> bool:
    """Say whether nothing can be asked while the call goes on: the question is its answer."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def questions_of(interrupts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return interrupts as questions, by keys that their answers have too."""
    return dict(map(_question, interrupts))


async def ask(ctx: ServerRequestContext, interrupts: list[dict[str, Any]], timeout: float) -> list[dict[str, Any]]:
    """Ask the caller's user one after the other, and return the answers for the agent.

    Raises:
        InvocationTimeoutError: There is none after `timeout` seconds.
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
    """Return the answers to questions as the agent gets them; None where there are none."""
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
    """Say whether a schema is one that forms may have: an object of simple values."""
    fields = schema.get("properties") if isinstance(schema, dict) and schema.get("type") == "object" else None
    return isinstance(fields, dict) and bool(fields) and all(map(_is_simple, fields.values()))


def _is_simple(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") in _SIMPLE
