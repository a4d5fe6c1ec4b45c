"""One line, whatever is logged: odd values, calls that do not fit, exceptions without text, forged ids."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_runtime.observability.logging import JsonFormatter, TextFormatter


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def formatted(formatter: logging.Formatter, message: Any, *args: Any, **given: Any) -> str:
    """Format what `log.info` would make of this."""
    exc_info = sys.exc_info() if given.pop("exc_info", False) else None
    log = logging.getLogger("odd")
    return formatter.format(log.makeRecord("odd", logging.INFO, __file__, 1, message, args, exc_info, **given))


circle: list[Any] = []
circle.append(circle)

ODD = [
    float("nan"),
    circle,
    {(1, 2): 3, None: Unprintable()},
    b"\xff",
    "\ud800",
    {1, 2},
    Unprintable(),
    "line\nbreak\u2028",
    10**400,
]


@pytest.mark.parametrize("value", ODD, ids=[str(number) for number in range(len(ODD))])
def test_odd_values_become_one_valid_json_line(value: Any) -> None:
    line = formatted(JsonFormatter(), "odd %s", 1, extra={"value": value, "fine": [1]})
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line, parse_constant=pytest.fail)["fine"] == [1]


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
@pytest.mark.parametrize("arguments", [("%s %s", 1), ("%d", "x"), ("%s", Unprintable()), (Unprintable(),)])
def test_a_log_call_that_does_not_fit_is_still_a_line(formatter: logging.Formatter, arguments: tuple[Any, ...]) -> None:
    assert "don't match" in formatted(formatter, *arguments)


def test_exceptions_are_fields_even_when_they_cannot_describe_themselves() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    try:
        raise MuteError
    except MuteError:
        line = formatted(JsonFormatter(), "failed", exc_info=True)
    exception = json.loads(line)["exception"]
    assert exception["type"].endswith("MuteError")
    assert "MuteError" in exception["stacktrace"]


values = st.recursive(
    st.none() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.text(), values)
def test_any_message_and_extra_is_one_json_line(message: str, value: Any) -> None:
    line = formatted(JsonFormatter(), "%s", message, extra={"value": value})
    assert "\n" not in line
    assert json.loads(line, parse_constant=pytest.fail)["message"] == message


def test_an_id_of_the_caller_cannot_forge_a_line() -> None:
    extra = {"session_id": 'a\n2026-01-01 INFO x: forged" ] request=other'}
    assert "\n" not in formatted(TextFormatter(), "hello", extra=extra)
