"""One parsed request, as the later rooms need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ._context import Headers

Form = Literal["json", "stream"]


@dataclass(slots=True)
class InvocationCall:
    """What `POST /invocations` asked for.

    Attributes:
        wants: The form of the answer; None to let the handler's result decide.
        numbered: The caller speaks protocol 1: events have ids, and a stream ends with `done` or `error`.
        timeout: Requested limit in seconds, or None.
    """

    request_id: str
    session_id: str | None
    user_id: str | None
    headers: Headers
    payload: Any
    metadata: dict[str, Any] | None
    wants: Form | None
    numbered: bool
    timeout: float | None
