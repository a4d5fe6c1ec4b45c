"""The input of an agent, the same for all protocols: messages, the caller's tools and state, answers to interrupts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from ._events import WireModel, _absent
from ._invocation import InvocationRequest


class Resume(WireModel):
    """The answer to an `Interrupt` of an earlier run.

    Attributes:
        status: `resolved` with a `payload`, or `cancelled`.
        payload: The answer, in the form that the interrupt's `response_schema` describes.
    """

    interrupt_id: str
    status: Literal["resolved", "cancelled"] = "resolved"
    payload: Any = _absent()


class AgentInput(InvocationRequest):
    """The input of an agent, in the form that all protocols share.

    An entrypoint that takes one also gets it for `POST /invocations`: a `prompt` alone becomes a conversation of one
    message. `prompt` is the text of the last user message if none was given, and `""` for a request that answers
    interrupts, so that an agent that looks at the prompt doesn't ask again.

    Attributes:
        messages: AG-UI messages (`id`, `role`, `content`, `toolCalls`, `toolCallId`), as the caller sent them.
        tools: The caller's own tools (`name`, `description`, `parameters` as JSON Schema). The agent may call one of
            them, and then ends its run; the result comes with the next request.
        state: State that the caller and the agent share.
        context: Facts for the agent (`description`, `value`).
        resume: Answers to the interrupts of the session's last run.
        forwarded_props: Other data that the caller sent; only the agent uses it.
    """

    prompt: str | None = None
    messages: list[dict[str, Any]] = Field(default_factory=list)
    tools: list[dict[str, Any]] = Field(default_factory=list)
    state: Any = None
    context: list[dict[str, Any]] = Field(default_factory=list)
    resume: list[Resume] = Field(default_factory=list)
    forwarded_props: Any = Field(default=None, validation_alias=AliasChoices("forwarded_props", "forwardedProps"))

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.prompt is None:
            self.prompt = "" if self.resume else _last_user_text(self.messages)
        elif not self.messages and not self.resume:
            self.messages = [{"id": "prompt", "role": "user", "content": self.prompt}]
        return self


def _last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the last user message, or `""` if there is none."""
    last = next((message for message in reversed(messages) if message.get("role") == "user"), None)
    return "" if last is None else message_text(last.get("content"))


def message_text(content: Any) -> str:
    """Return the text in a message's `content`, which is a string or a list of parts, some of them text."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""
