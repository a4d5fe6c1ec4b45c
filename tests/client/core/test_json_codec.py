"""JSON in both directions, also where pydantic_core refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ppio_agent_client import InvocationRequest, SerializationError
from ppio_agent_client._core.json_codec import dump, load
from ppio_agent_client._core.request_body import body_of

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@given(values)
def test_what_is_dumped_is_loaded(value: object) -> None:
    assert load(dump(value)) == value


@given(values)
def test_what_the_standard_library_writes_is_read(value: object) -> None:
    assert load(json.dumps(value).encode()) == value


@dataclass
class Point:
    x: int


def test_rich_values_become_their_json_forms() -> None:
    value = {
        "model": InvocationRequest(prompt="x"),
        "point": Point(1),
        "time": datetime(2026, 1, 2, tzinfo=UTC),
        "money": Decimal("1.10"),
        "bytes": b"\xff",
        "set": {1},
        "nan": float("nan"),
    }
    sent = load(dump(value))
    assert sent["model"]["prompt"] == "x"
    assert {name: sent[name] for name in sent if name != "model"} == {
        "point": {"x": 1},
        "time": "2026-01-02T00:00:00Z",
        "money": "1.10",
        "bytes": "_w==",
        "set": [1],
        "nan": None,
    }


def test_rich_values_survive_beside_lone_surrogates() -> None:
    assert load(dump({"broken": "\ud800", "time": datetime(2026, 1, 2, tzinfo=UTC)})) == {
        "broken": "\ud800",
        "time": "2026-01-02T00:00:00Z",
    }


def test_a_value_that_contains_itself_is_refused() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(SerializationError, match="request"):
        dump({"a": circle})


def test_deep_json_is_read_as_far_as_python_goes() -> None:
    assert load(b"[" * 250 + b"]" * 250)
    with pytest.raises(ValueError, match="deep"):
        load(b"[" * 200_000 + b"]" * 200_000)


@pytest.mark.parametrize("text", [b"", b"{", b"nope", b"\xff\xfe\x00"])
def test_what_is_no_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        load(text)


@dataclass
class Turn:
    text: str
    _prompt: str = "of the system"


class Around(BaseModel):
    turn: Any


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (Turn("a"), {"text": "a"}),
        ([Around(turn=Turn("a"))], [{"turn": {"text": "a"}}]),
        ({"_id": 1, "turns": [Turn("\ud800")]}, {"_id": 1, "turns": [{"text": "\ud800"}]}),
    ],
)
def test_private_fields_of_dataclasses_are_not_sent_and_keys_of_dicts_are(value: Any, sent: Any) -> None:
    assert load(dump(value)) == sent
    assert load(body_of(InvocationRequest(prompt="x", data={"value": value})))["data"] == {"value": sent}
