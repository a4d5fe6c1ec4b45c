"""Large values are the same in pieces: what comes of them, what is refused, and where that is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppio_agent_models import BadRequestError, SerializationError
from ppio_agent_runtime import large_json
from ppio_agent_runtime.large_json import decode_large, encode_large, is_large
from ppio_agent_runtime.serialization import decode, encode

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=5),
    max_leaves=60,
)


@pytest.fixture(autouse=True, params=[8, 64, 32 * 1024])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few bytes end everywhere that one can end."""
    monkeypatch.setattr(large_json, "_PIECE_BYTES", request.param)


WRONG = [b"", b",", b"]", b"}", b"[", b"{", b'"', b":", b" ", b"\\", b"1", b"N", b"\xff"]


def outcome(function: Callable[[Any], Any], value: Any) -> Any:
    try:
        return repr(function(value))
    except (BadRequestError, SerializationError) as error:
        return type(error)


@given(values)
@settings(max_examples=300, deadline=None)
@pytest.mark.slow
def test_a_value_is_the_same_json_in_pieces(value: Any) -> None:
    assert encode_large(value) == encode(value)


@given(values, st.sampled_from([None, 1]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_json_is_the_same_value_in_pieces(value: Any, indent: int | None, escapes: bool) -> None:
    body = json.dumps(json.loads(encode(value)), indent=indent, ensure_ascii=escapes).encode("utf-8", "surrogatepass")
    assert outcome(decode_large, body) == outcome(decode, body)


@given(values, st.data())
@settings(max_examples=500, deadline=None)
@pytest.mark.slow
def test_what_is_broken_anywhere_is_refused_in_pieces_as_it_is_in_one(value: Any, data: st.DataObject) -> None:
    body = bytearray(json.dumps(json.loads(encode(value)), indent=data.draw(st.sampled_from([None, 1]))).encode())
    at = data.draw(st.integers(0, len(body)))
    replaced = data.draw(st.integers(0, 2))
    body[at : at + replaced] = data.draw(st.sampled_from(WRONG))
    assert outcome(decode_large, bytes(body)) == outcome(decode, bytes(body))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"  ", b"[1, ]", b"[1,  ]", b"[ , 1]", b'{"a":1,}', b'{"a":1, }', b'{"a" 1}', b"{1:2}", b"[1 2]", b"[1]]",
        b"[1] x", b"NaN", b"[NaN]", b"[-Infinity]", b"\xef\xbb\xbf[]", b'["\\ud800"]', b'["\xff"]', b"[01]", b"[1e400]",
        b"[" + b"9" * 5000 + b"]", b'{"a":1,"a":2}', b'"' + b"x" * 200 + b'"', b'["' + b"x" * 200 + b'",2]', b"[[]",
        b"{]", b"[}", b"[{]}", b'{"a":[}',
        *(b"[" * depth + b"]" * depth for depth in (5, 199, 200, 201, 202, 5000)),
        *(b'{"a":' * depth + b"1" + b"}" * depth for depth in (5, 199, 200, 201, 202)),
    ],
)  # fmt: skip
def test_odd_bodies_are_what_they_are_in_one(body: bytes) -> None:
    assert outcome(decode_large, body) == outcome(decode, body)


@dataclass
class Secretive:
    shown: str
    _hidden: str = "hidden"


def test_what_is_no_json_is_named_by_its_whole_path() -> None:
    value: Any = {"items": [{"n": number} for number in range(100)]}
    value["items"][70]["n"] = object()
    with pytest.raises(SerializationError, match=r"^result\.items\[70\]\.n cannot become JSON"):
        encode_large(value)


def test_private_fields_are_not_told_in_pieces_either() -> None:
    assert json.loads(encode_large([Secretive("a"), {"_key": Secretive("b")}])) == [
        {"shown": "a"},
        {"_key": {"shown": "b"}},
    ]


@pytest.mark.parametrize(
    "value",
    [
        "x" * 5_000_000,
        [{"text": "x" * 1000}] * 6000,
        {"pages": {"items": list(range(100_000))}},
        {"a": {"b": ["y" * 5_000_000]}},
    ],
)
def test_size_is_seen_by_a_look(value: Any) -> None:
    assert is_large(value)
    assert not is_large({"reply": "hello", "parts": [1, {"text": "x" * 1000}]})
