"""Logging when the service is run by us: standard error, one format for all loggers, and every record with its ids."""

from __future__ import annotations

import logging
import sys
from typing import Literal

from .._engine.log_ids import carry_ids
from .log_formats import JsonFormatter, TextFormatter
from .log_lines import LineHandler

LogFormat = Literal["text", "json"]


def configure_logging(log_format: LogFormat | None = None, *, debug: bool = False) -> None:
    """Write log lines of all loggers to standard error, and let every record carry the ids of its invocation.

    `app.run()` calls this. Call it yourself where another server serves the app. A program that has set up logging
    before keeps its handlers and levels; records then still have `request_id`, `session_id` and `invocation_id` (None
    outside of invocations) for its formats. Calling it again changes the format.

    Args:
        log_format: `text` or `json`. One that is named also replaces the format of handlers that the program has put
            on the root logger to write to standard output or error; without one, text is for the unconfigured.
        debug: Let records of level DEBUG through.
    """
    carry_ids()
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(LineHandler())
        root.setLevel(logging.DEBUG if debug else logging.INFO)
        log_format = log_format or "text"
    if log_format is not None:
        for handler in root.handlers:
            is_known = type(handler) in (logging.StreamHandler, LineHandler)  # not a program's own kind, or a file
            if is_known and isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stderr, sys.stdout):
                handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    # Of uvicorn's chatter at start nothing is news; what it warns about comes through the root's handlers.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
