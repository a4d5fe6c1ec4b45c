"""The annotation of the payload decides what is accepted; a refusal names each wrong field and shows no value."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.raw_http import Answer, invoke

pytestmark = pytest.mark.contract

SECRET = "s3cr3t-value"


class Colour(enum.Enum):
    RED = "red"


class Address(BaseModel):
    city: str
    number: int


class Order(BaseModel):
    amount: int = Field(gt=0)
    when: date | None = None
    colours: set[Colour] = set()
    address: Address | None = None
    model_config = ConfigDict(extra="forbid")


class Fragile(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _look_up(cls, value: str) -> str:
        return {"known": "yes"}[value]


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@contextmanager
def serving(handler: Callable[..., Any]) -> Iterator[str]:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(handler)
    with running(app) as url:
        yield url


def ask(handler: Callable[..., Any], payload: Any) -> Answer:
    with serving(handler) as url:
        return invoke(url, payload)


def kind_of(payload: Any) -> str:
    return type(payload).__name__


@pytest.fixture(scope="module")
def unannotated() -> Iterator[str]:
    with serving(lambda payload: payload) as url:
        yield url


@pytest.fixture(scope="module")
def order() -> Iterator[str]:
    def handler(payload: Order) -> Any:
        assert type(payload) is Order
        return payload

    with serving(handler) as url:
        yield url


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[1]", "an array"),
        (b'"text"', "a string"),
        (b"1", "a number"),
        (b"1.5", "a number"),
        (b"true", "a boolean"),
        (b"null", "null"),
    ],
)
def test_payload_without_annotation_must_be_an_object(unannotated: str, body: bytes, kind: str) -> None:
    sentence = refusal(call(unannotated, body=body), 422, "PayloadValidationError")

    assert sentence == f"The body must be a JSON object, not {kind}."


def test_payload_without_annotation_arrives_as_it_was_sent(unannotated: str) -> None:
    payload = {"a": [1, 2.5, None, {"b": "ü"}], "session_id": "s", "timeout": 3, "stream": False, "metadata": {}}

    assert invoke(unannotated, payload).result == payload


@pytest.mark.parametrize("annotation", [dict, dict[str, Any]])
def test_dict_payload_must_be_an_object(annotation: Any) -> None:
    def handler(payload: Any) -> Any:
        return payload

    handler.__annotations__["payload"] = annotation
    refusal(ask(handler, [1]), 422, "PayloadValidationError")


def test_any_payload_may_be_anything() -> None:
    def handler(payload: Any) -> Any:
        return payload

    with serving(handler) as url:
        values: list[Any] = [[1], "text", 1, 1.5, True, None, {}]
        for value in values:
            assert call(url, body=json.dumps(value).encode()).result == value


def test_string_payload_is_a_bare_string() -> None:
    def handler(payload: str) -> str:
        return payload.upper()

    assert ask(handler, "text").result == "TEXT"


def test_string_payload_refuses_an_object() -> None:
    def handler(payload: str) -> str:
        return payload

    assert "the body" in refusal(ask(handler, {"a": 1}), 422, "PayloadValidationError")


def test_list_payload_names_the_wrong_item() -> None:
    def handler(payload: list[int]) -> int:
        return sum(payload)

    assert ": 1: " in refusal(ask(handler, [1, "two"]), 422, "PayloadValidationError")


def test_list_payload_arrives_as_a_list() -> None:
    def handler(payload: list[int]) -> int:
        return sum(payload)

    assert ask(handler, [1, 2]).result == 3


def test_optional_payload_may_be_null() -> None:
    def handler(payload: Order | None) -> str:
        return kind_of(payload)

    with serving(handler) as url:
        assert call(url, body=b"null").result == "NoneType"
        assert invoke(url, {"amount": 1}).result == "Order"


def test_dataclass_payload_is_made() -> None:
    def handler(payload: Point) -> int:
        return payload.x + payload.y

    assert ask(handler, {"x": 1}).result == 1


def test_annotated_payload_keeps_its_constraints() -> None:
    def handler(payload: Annotated[int, Field(gt=5)]) -> int:
        return payload

    assert "greater than 5" in refusal(ask(handler, 3), 422, "PayloadValidationError")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (datetime, datetime(2026, 1, 2, tzinfo=UTC).isoformat()),
        (UUID, "12345678-1234-5678-1234-567812345678"),
        (Decimal, "1.10"),
        (Colour, "red"),
        (set[int], [1, 2]),
        (bytes, "text"),
    ],
)
def test_payload_types_are_read_as_json_writes_them(kind: Any, value: Any) -> None:
    def handler(payload: Any) -> str:
        return kind_of(payload)

    handler.__annotations__["payload"] = kind

    assert ask(handler, value).result == getattr(kind, "__origin__", kind).__name__


def test_model_payload_arrives_as_the_model(order: str) -> None:
    payload = {"amount": 2, "when": "2026-01-02", "colours": ["red"], "address": {"city": "Bern", "number": 1}}

    assert invoke(order, payload).result == payload


def test_each_wrong_field_is_named(order: str) -> None:
    payload = {"amount": 0, "when": "someday", "address": {"number": "x"}, "surplus": 1}

    sentence = refusal(invoke(order, payload), 422, "PayloadValidationError")

    for field in ("amount: ", "when: ", "address.city: ", "address.number: ", "surplus: "):
        assert field in sentence


def test_no_value_is_shown(order: str) -> None:
    payload = {"amount": SECRET, "when": SECRET, "colours": [SECRET], "address": {"number": SECRET}, "x": SECRET}

    assert SECRET.encode() not in invoke(order, payload).body


def test_no_value_is_shown_when_the_whole_body_is_wrong(order: str) -> None:
    answer = invoke(order, SECRET)

    refusal(answer, 422, "PayloadValidationError")
    assert SECRET.encode() not in answer.body


def test_unknown_tag_of_a_union_is_named_and_not_shown() -> None:
    def handler(payload: Annotated[Cat | Dog, Field(discriminator="kind")]) -> str:
        return payload.kind

    sentence = refusal(ask(handler, {"kind": SECRET}), 422, "PayloadValidationError")

    assert SECRET not in sentence
    assert "'kind' must be one of 'cat', 'dog'" in sentence


def test_many_wrong_fields_are_counted() -> None:
    def handler(payload: list[int]) -> None: ...

    assert "and 10 more" in refusal(ask(handler, ["x"] * 30), 422, "PayloadValidationError")


def test_wrong_payload_never_reaches_the_handler() -> None:
    called = []

    def handler(payload: Order) -> None:
        called.append(payload)

    ask(handler, {})

    assert called == []


def test_validator_that_breaks_is_a_failure_of_the_agent(caplog: pytest.LogCaptureFixture) -> None:
    def handler(payload: Fragile) -> str:
        return payload.name

    answer = ask(handler, {"name": SECRET})

    refusal(answer, 500, "HandlerError")
    assert SECRET.encode() not in answer.body
    assert f"A request failed (request {answer.headers['x-ppio-request-id']}): KeyError" in caplog.text


def test_default_of_the_payload_does_not_replace_a_body() -> None:
    def handler(payload: dict[str, int] = {"n": 1}) -> Any:  # noqa: B006
        return payload

    with serving(handler) as url:
        refusal(call(url, body=b""), 400, "BadRequestError")


def test_repeated_key_counts_with_its_last_value(unannotated: str) -> None:
    assert call(unannotated, body=b'{"a": 1, "a": 2}').result == {"a": 2}


def test_whole_numbers_stay_exact(unannotated: str) -> None:
    assert invoke(unannotated, {"n": 2**200}).result == {"n": 2**200}
