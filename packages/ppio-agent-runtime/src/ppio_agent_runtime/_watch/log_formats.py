"""Log lines as text for people or as JSON for machines. Whatever a record holds, it becomes one valid line.

A formatter must not fail: an exception in logging would hide the very thing that was to be logged.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from pydantic_core import to_json

from .._engine.log_ids import ID_FIELDS

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""Fields that every record has, and uvicorn's coloured twin of the message; all others were given by `extra`."""
_TAKEN: Final = _STANDARD | {"timestamp", "level", "logger"}
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
"""What pydantic_core writes as `json` does."""
_ID_WORDS: Final = [(field.removesuffix("_id"), field) for field in ID_FIELDS]
_MISLEADING: Final = re.compile(r'[ \]="\\]')


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,000 INFO name: message [request=… session=… invocation=…]`, the traceback below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        """Return the line without a traceback."""
        created = record.created
        milliseconds = int(created % 1 * 1000)
        line = f"{_local_time(int(created))},{milliseconds:03d} {record.levelname} {record.name}: {record.message}"
        fields = record.__dict__
        ids = ""
        for word, field in _ID_WORDS:
            if (value := fields.get(field)) is not None:
                ids = f"{ids} {word}={value if type(value) is str and value.isalnum() else _harmless(value)}"
        return f"{line} [{ids[1:]}]" if ids else line

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; one whose message and arguments do not fit together says so."""
        try:
            if record.exc_info or record.exc_text or record.stack_info:
                return super().format(record)
            record.message = record.getMessage()
            return self.formatMessage(record)
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
            "timestamp": _timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        fields = record.__dict__
        further = [field for field in fields if field not in _TAKEN]
        if fields.get("invocation_id") is None:
            further = [field for field in further if field not in ID_FIELDS]
        for field in further:
            line[field] = fields[field]
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _exception(record.exc_info[1])
        if record.stack_info:
            line["stack"] = record.stack_info
        return _dump(line)


def _timestamp(seconds: float) -> str:
    return f"{_universal_time(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(1)
def _local_time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@lru_cache(1)
def _universal_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


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
        if _PLAIN.issuperset(map(type, line.values())):  # 1 us instead of 4
            text = to_json(line, inf_nan_mode="strings").decode()
            if text.isascii():
                return text
        return _encode(line)
    except (ValueError, TypeError, RecursionError):  # NaN, a circle, keys that are no texts, too deep
        return _encode({_text_of(field): _plain(value) for field, value in line.items()})


def _plain(value: Any) -> Any:
    try:
        return json.loads(_encode(value))
    except (ValueError, TypeError, RecursionError):
        return _text_of(value)


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  # see the module's docstring
        return f"<{type(value).__name__} whose text cannot be made: {type(error).__name__}>"


# Made once: json.dumps makes one for each call.
_encode = json.JSONEncoder(allow_nan=False, default=_text_of, separators=(",", ":")).encode


def _harmless(value: Any) -> str:
    """Return an id that a caller chose such that it cannot begin a line of its own or look like another field."""
    text = str(value)
    return text if text.isprintable() and not _MISLEADING.search(text) else json.dumps(text)
