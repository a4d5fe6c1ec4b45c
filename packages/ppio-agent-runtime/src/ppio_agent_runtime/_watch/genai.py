"""The names under which an invocation is traced: OpenTelemetry's semantic conventions for generative AI, agent spans.

All names of that convention are still in development and have changed before; they are in this file and nowhere else.
See https://github.com/open-telemetry/semantic-conventions-genai (agent spans) and, for `error.type`, the general ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .._engine.context import RequestContext

OPERATION: Final = "invoke_agent"
ERROR_TYPE: Final = "error.type"
OUTCOME: Final = "ppio.outcome"
MODE: Final = "ppio.mode"
CHUNKS: Final = "ppio.chunks"


def span_name(agent_name: str) -> str:
    """Return the name of an invocation's span."""
    return f"{OPERATION} {agent_name}"


def attributes_of(agent_name: str, context: RequestContext) -> dict[str, Any]:
    """Return what is known when an invocation begins. Never its payload."""
    attributes = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.agent.name": agent_name,
        "ppio.invocation_id": context.invocation_id,
        "ppio.request_id": context.request_id,
    }
    if context.session_id is not None:
        attributes["gen_ai.conversation.id"] = context.session_id
    return attributes
