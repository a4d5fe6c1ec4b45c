"""Every log record knows the invocation that it was made in, whatever its logger and thread."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from .context import current_context

if TYPE_CHECKING:
    from .context import RequestContext

ID_FIELDS: Final = ("request_id", "session_id", "invocation_id")
"""The fields that records have; None outside of invocations."""


def ids_of(context: RequestContext) -> dict[str, Any]:
    """Return the ids as `extra` of a log call, for lines about an invocation that are not written inside of it."""
    return {
        "request_id": context.request_id,
        "session_id": context.session_id,
        "invocation_id": context.invocation_id,
    }


def carry_ids() -> None:
    """Let every log record made from now on have the fields of `ID_FIELDS`."""
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _RecordsWithIds):
        logging.setLogRecordFactory(_RecordsWithIds(factory))


def makes_plain_records() -> bool:
    """Say whether log records are made by `logging` and nobody else; the ids apart, which we add."""
    factory = logging.getLogRecordFactory()
    return (factory.inner if isinstance(factory, _RecordsWithIds) else factory) is logging.LogRecord


class _RecordsWithIds:
    """A factory of log records around the one that was there before."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self.inner(*args, **kwargs)
        context = current_context.get()
        fields = _Fields(vars(record))
        for name in ID_FIELDS:
            fields.setdefault(name, None if context is None else getattr(context, name))
        record.__dict__ = fields
        return record


class _Fields(dict[str, Any]):
    """A record's fields, of which the ids do not count as taken.

    `logging` refuses an `extra` that names a field which a record has already, and `extra={"request_id": …}` is common.
    It goes on working: who gives an id of that name means it.
    """

    def __contains__(self, name: object) -> bool:
        return name not in ID_FIELDS and super().__contains__(name)
