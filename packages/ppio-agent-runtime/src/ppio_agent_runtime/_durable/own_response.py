"""Starlette responses that a durable invocation made instead of a value.

A plain one is a status, headers and a body, and is held like a value. One that streams or sends a file cannot be held
without taking it whole into memory: it goes to the caller who waits, live, and to nobody else.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ppio_agent_models import SerializationError

from .._corridor.respond import envelope_around, log_failure, pass_through
from .._problems import handler_failure
from .._records.answer import Answer

if TYPE_CHECKING:
    from .._engine.context import RequestContext
    from .._engine.run import Run
    from .presence import Presence


def held_response(response: Any, context: RequestContext) -> Answer | None:
    """Return a plain response as an answer that can be given many times, None for one that can be sent once only."""
    plain: Any = sys.modules["starlette.responses"].Response
    body = vars(response).get("body")
    if type(response).__call__ is not plain.__call__ or not isinstance(body, bytes | memoryview):
        return None
    closing = envelope_around(b"null", context)
    return Answer(response.status_code, closing, list(response.raw_headers), bytes(body))


async def after_sending(response: Any, context: RequestContext) -> None:
    """Do what the response wants done in the background, once, however often it is sent."""
    if response.background is None:
        return
    try:
        await response.background()
    except Exception as error:  # noqa: BLE001  # the answer is out; nobody but the log can be told
        log_failure(handler_failure(error), context.request_id, context)


async def send_live(response: Any, taker: Presence | None, run: Run, timeout: float) -> Answer:
    """Send a response that can be sent once to the caller who waits for it; later callers are told that it is gone.

    Raises:
        SerializationError: Nobody waits for it.
        AnswerCutError: It failed or was stopped after it had begun.
    """
    if taker is None:
        raise SerializationError(
            f"result is a {type(response).__name__}, which can only be sent to a caller who waits for it and whose "
            "answer has not begun, and there is none. Return a generator or a value instead."
        )
    scope, receive, send = taker.take_channel()
    await pass_through(response, scope, receive, send, run, timeout)
    return Answer(200, envelope_around(b"null", run.context))
