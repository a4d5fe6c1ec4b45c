"""What an agent may return, how it looks as JSON, and what is said about the rest: path and type, never a value."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_serializer
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse

from ppio_agent_models import SerializationError
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.serialization import encode
from ppio_agent_runtime.testing import running
from tests.support.calls import refusal
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Answer, invoke


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(slots=True)
class SlottedPoint:
    x: Any


class Inner(BaseModel):
    when: date
    secret: str = Field(default="hidden", exclude=True)


class Outer(BaseModel):
    inner: Inner
    points: list[Point]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)
    thing: Any = None


class Names(RootModel[list[str]]):
    pass


class Broken(BaseModel):
    name: str = "x"

    @field_serializer("name")
    def _fail(self, _value: str) -> str:
        raise KeyError("a secret")


class Raw(BaseModel):
    content: bytes


class Opaque:
    def __repr__(self) -> str:
        return "a secret"

    __str__ = __repr__


Pair = namedtuple("Pair", "a b")  # noqa: PYI024  # the old spelling is in use

BERLIN_NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
UUID_TEXT = "12345678-1234-5678-1234-567812345678"

ORDINARY: dict[str, tuple[Any, Any]] = {
    "none": (None, None),
    "bool": (True, True),
    "int": (3, 3),
    "big int": (2**200, 2**200),
    "float": (0.1, 0.1),
    "whole float": (1.0, 1.0),
    "nan": (float("nan"), None),
    "infinity": (float("inf"), None),
    "minus infinity inside": ([float("-inf"), 1], [None, 1]),
    "text": ("ü \u2028 \U0001f600 \x00", "ü \u2028 \U0001f600 \x00"),
    "bytes": (b"\xff\xfe text?", "__4gdGV4dD8="),
    "bytearray": (bytearray(b"ab"), "YWI="),
    "list": ([1, "a", None], [1, "a", None]),
    "tuple": ((1, 2), [1, 2]),
    "named tuple": (Pair(1, 2), [1, 2]),
    "set": ({1}, [1]),
    "frozen set": (frozenset({1}), [1]),
    "deque": (deque([1, 2]), [1, 2]),
    "dict": ({"a": {"b": 1}}, {"a": {"b": 1}}),
    "dict with other keys": (
        {1: "a", None: "b", Colour.RED: "c", UUID(UUID_TEXT): "d"},
        {"1": "a", "None": "b", "red": "c", UUID_TEXT: "d"},
    ),
    "ordered dict": (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "default dict": (defaultdict(int, a=1), {"a": 1}),
    "decimal": (Decimal("1.10"), "1.10"),
    "enum": (Colour.RED, "red"),
    "int enum": (Level.HIGH, 3),
    "str enum": (Word.YES, "yes"),
    "uuid": (UUID(UUID_TEXT), UUID_TEXT),
    "datetime": (BERLIN_NOON, "2026-01-02T12:00:00Z"),
    "naive datetime": (BERLIN_NOON.replace(tzinfo=None), "2026-01-02T12:00:00"),
    "date": (date(2026, 1, 2), "2026-01-02"),
    "time": (time(1, 2, 3), "01:02:03"),
    "timedelta": (timedelta(days=1, seconds=2), "P1DT2S"),
    "path": (Path("/a/b"), "/a/b"),
    "ip address": (ip_address("::1"), "::1"),
    "dataclass": (Point(1), {"x": 1, "y": 0}),
    "slotted dataclass": (SlottedPoint(1), {"x": 1}),
    "nested models": (
        Outer(inner=Inner(when=date(2026, 1, 2)), points=[Point(1, {Colour.RED})]),
        {"inner": {"when": "2026-01-02"}, "points": [{"x": 1, "y": ["red"]}]},
    ),
    "model with extra fields": (Open.model_validate({"more": {1}}), {"thing": None, "more": [1]}),
    "root model": (Names(["a"]), ["a"]),
    "generator inside": ({"items": (number for number in range(2))}, {"items": [0, 1]}),
    "lone surrogate": ("a\ud800b", "a\ud800b"),
    "lone surrogate deep inside": ({"a": [Point("\udfff", float("nan"))]}, {"a": [{"x": "\udfff", "y": None}]}),
    "lone surrogate in a model with nan": (Open(thing=["\ud800", float("nan")]), {"thing": ["\ud800", None]}),
    "whole surrogate pair": ("\ud83d\ude00", "\U0001f600"),
}


@pytest.mark.parametrize(("value", "expected"), ORDINARY.values(), ids=ORDINARY.keys())
def test_value_becomes_json(value: Any, expected: Any) -> None:
    assert json.loads(encode(value)) == expected


def test_json_is_compact_utf8_on_one_line() -> None:
    assert encode({"a": "ü\n", "b": [1, 2]}) == '{"a":"ü\\n","b":[1,2]}'.encode()


def circular() -> Any:
    value: dict[str, Any] = {}
    value["again"] = [value]
    return value


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "itself": (Opaque, "result cannot become JSON: it is of type {here}.Opaque."),
    "item of a list": (lambda: {"items": [1, 2, 3, Opaque()]}, "result.items[3] cannot become JSON: "),
    "item of a tuple": (lambda: (1, Opaque()), "result[1] cannot become JSON: "),
    "item under an int": (lambda: {7: Opaque()}, "result[7] cannot become JSON: "),
    "item under an opaque key": (lambda: {UUID(UUID_TEXT): Opaque()}, "result[a UUID] cannot become JSON: "),
    "key": (lambda: {"a": {Opaque(): 1}}, "a key of result.a cannot become JSON: it is of type {here}.Opaque."),
    "field of a dataclass": (lambda: [Point(1, Opaque())], "result[0].y cannot become JSON: "),
    "field of a slotted dataclass": (lambda: SlottedPoint(Opaque()), "result.x cannot become JSON: "),
    "field of a model": (lambda: Open(thing=Opaque()), "result.thing cannot become JSON: "),
    "extra field of a model": (lambda: Open.model_validate({"m": Opaque()}), "result.m cannot become JSON: "),
    "serializer of a model": (lambda: {"m": Broken()}, "result.m cannot become JSON: it is of type {here}.Broken."),
    "class": (lambda: {"kind": Opaque}, "result.kind cannot become JSON: it is of type builtins.type."),
    "function": (lambda: [nested], "result[0] cannot become JSON: it is of type builtins.function."),
    "exception": (lambda: [ValueError("a secret")], "result[0] cannot become JSON: it is of type builtins.ValueError."),
    "mapping that is no dict": (
        lambda: {"m": types.MappingProxyType({"a": 1})},
        "result.m cannot become JSON: it is of type builtins.mappingproxy.",
    ),
    "beside a lone surrogate": (lambda: ["\ud800", Opaque()], "result[1] cannot become JSON: "),
    "key that is no Unicode": (lambda: {"a": {"\ud800": 1}}, "result.a cannot become JSON: one of its keys is not"),
    "inside a generator": (
        lambda: {"g": (Opaque() for _ in "x")},
        "result cannot become JSON, because of a value from a generator",
    ),
    "bytes of a model": (
        lambda: [Raw(content=b"\xff")],
        "result[0] cannot become JSON: it has bytes that are not UTF-8",
    ),
    "circular": (circular, "result cannot become JSON: it contains itself."),
    "too deep": (lambda: nested(300), "result cannot become JSON: it is nested too deeply."),
}


@pytest.mark.parametrize(("make", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_become_json_is_named_by_path_and_type(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(SerializationError, match=re.escape(sentence.format(here=__name__))):
        encode(make())


@pytest.mark.parametrize(("make", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_become_json_is_not_shown(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(SerializationError) as caught:
        encode(make())

    assert "a secret" not in str(caught.value)
    assert " object at 0x" not in str(caught.value)


async def _letters() -> Any:
    for letter in ("a", "b"):
        yield letter


RESPONSES: dict[str, Callable[[], Any]] = {
    "opaque": lambda: {"items": [1, Opaque()]},
    "surrogate": lambda: "a\ud800b",
    "surrogate key": lambda: {"\ud800": 1},
    "generator of opaque": lambda: (value for value in [1, Opaque()]),
    "model": lambda: Names(["a", "b"]),
    "plain": lambda: PlainTextResponse("hello", 201, {"X-Own": "1"}),
    "json": lambda: JSONResponse({"own": True}),
    "redirect": lambda: RedirectResponse("/elsewhere"),
    "bytes": lambda: Response(b"\x89PNG", media_type="image/png"),
    "stream": lambda: StreamingResponse(_letters(), media_type="text/plain"),
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, str]) -> Any:
        return RESPONSES[payload["return"]]()

    with running(app) as address:
        yield address


def ask(url: str, what: str, headers: dict[str, str] | None = None) -> Answer:
    return invoke(url, {"return": what}, headers)


@pytest.mark.contract
def test_caller_of_a_value_is_told_path_and_type(url: str) -> None:
    sentence = refusal(ask(url, "opaque"), 500, "SerializationError")

    assert sentence.startswith(f"result.items[1] cannot become JSON: it is of type {__name__}.Opaque.")


@pytest.mark.contract
def test_unserializable_value_is_a_true_status_for_a_stream_too(url: str) -> None:
    refusal(ask(url, "opaque", EVENT_STREAM), 500, "SerializationError")


@pytest.mark.contract
def test_unserializable_chunk_ends_the_stream_with_the_error(url: str) -> None:
    *_, last = ask(url, "generator of opaque", PROTOCOL_1).events

    assert last.kind == "error"
    assert last.data["error_type"] == "SerializationError"


@pytest.mark.contract
def test_lone_surrogate_travels_as_an_escape(url: str) -> None:
    assert b'"result":"a\\ud800b"' in ask(url, "surrogate").body


@pytest.mark.contract
def test_key_that_is_no_unicode_is_an_error_that_can_be_read(url: str) -> None:
    assert "not valid Unicode" in refusal(ask(url, "surrogate key"), 500, "SerializationError")


@pytest.mark.contract
def test_model_that_can_be_iterated_is_a_value(url: str) -> None:
    assert ask(url, "model").result == ["a", "b"]


@pytest.mark.contract
def test_response_passes_through_with_its_status_headers_and_body(url: str) -> None:
    answer = ask(url, "plain")

    assert (answer.status, answer.body) == (201, b"hello")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-own"] == "1"


@pytest.mark.contract
def test_response_that_passes_through_has_our_ids(url: str) -> None:
    headers = ask(url, "plain", {"X-PPIO-Session-Id": "s", "X-PPIO-Request-Id": "r"}).headers

    assert (headers["x-ppio-session-id"], headers["x-ppio-request-id"]) == ("s", "r")
    assert headers["x-ppio-invocation-id"]


@pytest.mark.contract
def test_json_response_is_not_wrapped(url: str) -> None:
    assert ask(url, "json").body == b'{"own":true}'


@pytest.mark.contract
def test_redirect_passes_through(url: str) -> None:
    answer = ask(url, "redirect")

    assert (answer.status, answer.headers["location"]) == (307, "/elsewhere")


@pytest.mark.contract
def test_binary_response_passes_through(url: str) -> None:
    assert ask(url, "bytes").body == b"\x89PNG"


@pytest.mark.contract
@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
@pytest.mark.parametrize(("what", "body"), [("stream", b"ab"), ("plain", b"hello")])
def test_response_passes_through_whatever_form_was_asked_for(url: str, accept: str, what: str, body: bytes) -> None:
    answer = ask(url, what, {"Accept": accept})

    assert answer.body == body
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
