"""One parsed request, as the later rooms need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .._engine.context import RequestContext

Form = Literal["json", "stream"]
OnDisconnect = Literal["cancel", "continue"]


@dataclass(slots=True, frozen=True)
class Durability:
    """How a call asked to be durable.

    Attributes:
        key: Its `Idempotency-Key`, or None.
        fingerprint: Digest of its body, when it has a key.
        background: It prefers an answer at once (RFC 7240, `respond-async`).
        on_disconnect: What it says about hanging up, or None for the default.
    """

    key: str | None
    fingerprint: bytes
    background: bool
    on_disconnect: OnDisconnect | None


@dataclass(slots=True)
class InvocationCall:
    """What `POST /invocations` asked for.

    Attributes:
        context: Who asks, under which ids and limits.
        payload: What the handler gets.
        wants: The form of the answer; None to let the handler's result decide.
        numbered: The caller speaks protocol 1: events have ids, and a stream ends with `done` or `error`.
        durability: How it asked to be durable, or None.
        timeout: Requested limit in seconds, or None; the context has the limit for a value.
    """

    context: RequestContext
    payload: Any
    wants: Form | None
    numbered: bool
    timeout: float | None
    durability: Durability | None = None

    @property
    def is_background(self) -> bool:
        """Whether it prefers an answer at once."""
        return self.durability is not None and self.durability.background
