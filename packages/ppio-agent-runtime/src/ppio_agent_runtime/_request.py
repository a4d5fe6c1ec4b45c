"""One parsed request, as the later rooms need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ._context import RequestContext

Form = Literal["json", "stream"]


@dataclass(slots=True)
class InvocationCall:
    """What `POST /invocations` asked for.

    Attributes:
        context: Who asks, under which ids and limits.
        payload: What the handler gets.
        wants: The form of the answer; None to let the handler's result decide.
        numbered: The caller speaks protocol 1: events have ids, and a stream ends with `done` or `error`.
        timeout: Requested limit in seconds, or None; the context has the limit for a value.
    """

    context: RequestContext
    payload: Any
    wants: Form | None
    numbered: bool
    timeout: float | None
