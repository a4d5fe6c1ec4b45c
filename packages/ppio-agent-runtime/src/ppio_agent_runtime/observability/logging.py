"""Logging: our loggers, the IDs in every record, and lines of text for people or of JSON for machines."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from ..context import current_context
from ..text import cut

if TYPE_CHECKING:
    from ..context import RequestContext

LogFormat = Literal["text", "json"]

ID_FIELDS: Final = ("request_id", "session_id", "invocation_id")
"""The fields that every record has; None outside of invocations."""
SPAN_FIELDS: Final = ("trace_id", "span_id")
"""Further fields of a record if an OpenTelemetry span is active."""

_NO_EXTRA: Final = frozenset(vars(logging.makeLogRecord({}))).union(
    ("message", "asctime", "taskName", "color_message", "timestamp", "level", "logger")
)
"""Fields that every record or line has, and uvicorn's coloured copy of the message; others come from `extra`."""
_MAX_TRACE_CHARS: Final = 64 * 1024
"""Longest traceback that is written, with the message of its exception."""
_MISLEADING: Final = re.compile(r'[ \]="\\]')


class RuntimeLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that can't be disabled.

    By default `logging.config.dictConfig` and `fileConfig` silently disable every existing logger, and failed
    invocations would not be logged. To log less, set the logger's level.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the name is logging's
        """Return whether records of this level are logged."""
        self.logger.disabled = False
        return super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Return both as they are, `extra` included."""
        return msg, kwargs


logger: Final = RuntimeLogger(logging.getLogger("ppio_agent_runtime"), {})
access_logger: Final = RuntimeLogger(logging.getLogger("ppio_agent_runtime.access"), {})


def configure_logging(log_format: LogFormat | None = None, *, debug: bool = False) -> None:
    """Write log lines of all loggers to standard error, and add the IDs of the invocation to every record.

    `app.run()` calls this. Call it yourself if another server serves the app. A program that has already set up logging
    keeps its handlers and levels; records then still have `request_id`, `session_id` and `invocation_id` (None
    outside of invocations) for its formats. Calling it again changes the format.

    Args:
        log_format: `text` or `json`. If given, it also replaces the format of handlers that the program has put on
            the root logger to write to standard output or error; if not, text is used where logging isn't set up.
        debug: Log records of level DEBUG too, from our own loggers but not from other libraries.
    """
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _RecordFactory):
        logging.setLogRecordFactory(_RecordFactory(factory))
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
        root.setLevel(logging.INFO)
        log_format = log_format or "text"
    if debug:
        logger.logger.setLevel(logging.DEBUG)
    if log_format is not None:
        for handler in root.handlers:
            # Not a program's own kind of handler, nor a file.
            if type(handler) is logging.StreamHandler and handler.stream in (sys.stderr, sys.stdout):
                handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    # uvicorn's messages at startup repeat ours; its warnings reach the root's handlers.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def ids_of(context: RequestContext) -> dict[str, Any]:
    """Return the IDs as `extra` of a log call, for lines about an invocation that are logged outside of it."""
    return {name: getattr(context, name) for name in ID_FIELDS} | dict(context.span_ids)


def span_ids(span_context: Any) -> dict[str, str]:
    """Return the IDs of an OpenTelemetry span in hex, as its log exporters write them."""
    return {"trace_id": f"{span_context.trace_id:032x}", "span_id": f"{span_context.span_id:016x}"}


def type_name(error: BaseException) -> str:
    """Return the full name of an exception's class, without a module for Python's own."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class _RecordFactory:
    """Wraps the previous factory of log records, and adds the IDs of the current invocation."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._inner(*args, **kwargs)
        context = current_context.get()
        fields = _Fields(vars(record))
        for name in ID_FIELDS:
            fields.setdefault(name, None if context is None else getattr(context, name))
        # Not imported: with tracing the module is loaded, and without it this costs nothing.
        if (current_span := getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)) is not None:
            current = current_span().get_span_context()
            if current.is_valid:
                fields.update(span_ids(current))
        record.__dict__ = fields
        return record


class _Fields(dict[str, Any]):
    """The fields of a record, in which IDs may be overwritten.

    `logging` refuses an `extra` with a name that the record already has, but `extra={"request_id": …}` is common, and
    must keep working.
    """

    def __contains__(self, name: object) -> bool:
        return name not in ID_FIELDS and name not in SPAN_FIELDS and super().__contains__(name)


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,000 INFO name: message [request=… session=… invocation=…]`, the traceback below it.

    A formatter must not fail: an exception in logging would hide what should be logged.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        """Return the line without a traceback."""
        ids = {name.removesuffix("_id"): getattr(record, name, None) for name in ID_FIELDS}
        shown = " ".join(f"{word}={_harmless(value)}" for word, value in ids.items() if value is not None)
        line = super().formatMessage(record)
        return f"{line} [{shown}]" if shown else line

    def formatException(self, ei: Any) -> str:  # noqa: N802  # likewise
        """Return the traceback."""
        return cut(super().formatException(ei), _MAX_TRACE_CHARS)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; if message and arguments don't match, it says so."""
        if record.exc_text:  # cached by another formatter
            record.exc_text = cut(record.exc_text, _MAX_TRACE_CHARS)
        return super().format(_printable(record))


class JsonFormatter(logging.Formatter):
    """One JSON object in ASCII for each record (RFC 8259), whatever the record contains.

    It has `timestamp` (ISO 8601, UTC), `level`, `logger`, `message`; during an invocation its three IDs; `trace_id` and
    `span_id` if an OpenTelemetry span is active; the fields of `extra`; and for an exception `exception` with `type`,
    `message` and `stacktrace`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break in it."""
        created = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "timestamp": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _printable(record).getMessage(),
        }
        absent = ID_FIELDS if getattr(record, "invocation_id", None) is None else ()
        line |= {name: value for name, value in vars(record).items() if name not in _NO_EXTRA and name not in absent}
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _exception(record.exc_info[1])
        if record.stack_info:
            line["stack"] = record.stack_info
        try:
            return _encode(line)
        except (ValueError, TypeError, RecursionError):  # NaN, circular, too deep, keys that are not strings
            return _encode({_text_of(name): _plain(value) for name, value in line.items()})


def _printable(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record if its message can be formatted, else a copy whose message says that it can't."""
    try:
        record.getMessage()
    except Exception as error:  # noqa: BLE001  # a formatter must not fail
        copy = logging.makeLogRecord(vars(record))
        copy.msg = f"{_text_of(record.msg)} [the arguments of this log call don't match it: {type(error).__name__}]"
        copy.args = None
        return copy
    return record


def _exception(error: BaseException) -> dict[str, str]:
    try:
        trace = "".join(traceback.format_exception(error))
    except Exception as failure:  # noqa: BLE001  # an exception's `__str__` may fail
        trace = f"The traceback cannot be shown: {type(failure).__name__}."
    message = cut(_text_of(error))
    return {"type": type_name(error), "message": message, "stacktrace": cut(trace, _MAX_TRACE_CHARS)}


def _plain(value: Any) -> Any:
    try:
        return json.loads(_encode(value))
    except (ValueError, TypeError, RecursionError):
        return _text_of(value)


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  # a formatter must not fail
        return f"<{type(value).__name__} that cannot be converted to text: {type(error).__name__}>"


# Created once: json.dumps creates an encoder for each call with options.
_encode = json.JSONEncoder(allow_nan=False, default=_text_of, separators=(",", ":")).encode


def _harmless(value: Any) -> str:
    """Return an ID that a caller chose, quoted if it could start a new line or look like another field."""
    text = str(value)
    return text if text.isprintable() and not _MISLEADING.search(text) else json.dumps(text)
