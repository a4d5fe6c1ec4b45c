"""What a handler may return: a generator, which streams, a Starlette response of its own, or else a value."""

from __future__ import annotations

import sys
from types import AsyncGeneratorType, GeneratorType
from typing import Any

GENERATOR_TYPES: frozenset[type] = frozenset({GeneratorType, AsyncGeneratorType})
"""The only result types that stream; anything else, iterable or not, is a value."""


def is_response(value: Any) -> bool:
    """Say whether `value` is a Starlette response; while the module is not loaded, it cannot be one."""
    module = sys.modules.get("starlette.responses")
    return module is not None and isinstance(value, module.Response)


def is_event_stream(response: Any) -> bool:
    """Say whether a Starlette response is a stream of events that went well, so that it can go on with one."""
    media_type: str = response.headers.get("content-type", "")
    return response.status_code == 200 and media_type.startswith("text/event-stream")
