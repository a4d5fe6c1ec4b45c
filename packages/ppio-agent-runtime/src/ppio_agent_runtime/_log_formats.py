"""Log lines as text for people or as JSON for machines. Whatever a record holds, it becomes one valid line.

A formatter must not fail: an exception in logging would hide the very thing that was to be logged.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any, Final

from ._log_ids import ID_FIELDS

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""Fields that every record has, and uvicorn's coloured twin of the message; all others were given by `extra`."""


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,000 INFO name: message [request=… session=… invocation=…]`, the traceback below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        """Return the line without a traceback."""
        line = super().formatMessage(record)
        ids = [
            f"{field.removesuffix('_id')}={_harmless(value)}"
            for field in ID_FIELDS
            if (value := getattr(record, field, None)) is not None
        ]
        return f"{line} [{' '.join(ids)}]" if ids else line

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; one whose message and arguments do not fit together says so."""
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001  # see the module's docstring
            return super().format(_without_arguments(record, error))


class JsonFormatter(logging.Formatter):
    """One JSON object in ASCII for each record (RFC 8259).

    Always `timestamp` (ISO 8601, UTC), `level`, `logger`, `message`; during an invocation its three ids; what was given
    by `extra`; for an exception `exception` with `type`, `message` and `stacktrace`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break in it."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        inside = any(getattr(record, field, None) is not None for field in ID_FIELDS)
        for field, value in vars(record).items():
            if field not in _STANDARD and (inside or field not in ID_FIELDS):
                line.setdefault(field, value)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _exception(record.exc_info[1])
        if record.stack_info:
            line["stack"] = record.stack_info
        return _dump(line)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001  # see the module's docstring
        return _without_arguments(record, error).getMessage()


def _without_arguments(record: logging.LogRecord, error: Exception) -> logging.LogRecord:
    """Return a copy whose message is printable as it stands and names what was wrong with the arguments."""
    copy = logging.makeLogRecord(vars(record))
    copy.msg = f"{_text_of(record.msg)} [the arguments of this log call do not fit: {type(error).__name__}]"
    copy.args = None
    return copy


def _exception(error: BaseException) -> dict[str, str]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        trace = "".join(traceback.format_exception(error))
    except Exception as failure:  # noqa: BLE001  # an exception may even fail to describe itself
        trace = f"The traceback cannot be shown: {type(failure).__name__}."
    return {"type": name, "message": _text_of(error), "stacktrace": trace}


def _dump(line: dict[str, Any]) -> str:
    try:
        return json.dumps(line, allow_nan=False, default=_text_of)
    except (ValueError, TypeError, RecursionError):  # NaN, a circle, keys that are no texts, too deep
        return json.dumps({_text_of(field): _plain(value) for field, value in line.items()})


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=_text_of))
    except (ValueError, TypeError, RecursionError):
        return _text_of(value)


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  # see the module's docstring
        return f"<{type(value).__name__} whose text cannot be made: {type(error).__name__}>"


def _harmless(value: Any) -> str:
    """Return an id that a caller chose such that it cannot begin a line of its own or look like another field."""
    text = str(value)
    return text if text.isprintable() and not set(text) & set(' ]="\\') else json.dumps(text)
