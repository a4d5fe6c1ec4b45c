"""Which form an answer takes, by the `Accept` header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ppio_agent_models import NotAcceptableError

if TYPE_CHECKING:
    from ..http.call import Form

_RANGES: dict[str, tuple[str, int]] = {
    "application/json": ("json", 2),
    "text/event-stream": ("stream", 2),
    "application/*": ("json", 1),
    "text/*": ("stream", 1),
}
"""Media range to form and precision; the wildcard for everything decides nothing."""


@lru_cache(256)
def wanted_form(header: bytes) -> Form | None:
    """Return the preferred form, or None when the header leaves it open.

    Raises:
        NotAcceptableError: It allows neither JSON nor an event stream.
    """
    text = header.decode("latin-1").lower().strip()
    if not text:
        return None
    weights: dict[str, tuple[int, float]] = {}
    anything = 0.0
    for part in text.split(","):
        media, _, parameters = part.partition(";")
        weight = _weight(parameters)
        if media.strip() == "*/*":
            anything = max(anything, weight)
        elif (known := _RANGES.get(media.strip())) is not None:
            form, precision = known
            # The most precise range that matches a form decides its weight.
            weights[form] = max(weights.get(form, (0, 0.0)), (precision, weight))
    json = weights.get("json", (0, anything))
    stream = weights.get("stream", (0, anything))
    if not (json[1] or stream[1]):
        raise NotAcceptableError("Answers are application/json or text/event-stream; the Accept header allows neither.")
    # Of two equally welcome forms the more precisely named one is meant: "application/json, */*" asks for JSON.
    json_rank, stream_rank = (json[1], json[0]), (stream[1], stream[0])
    return None if json_rank == stream_rank else "json" if json_rank > stream_rank else "stream"


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
