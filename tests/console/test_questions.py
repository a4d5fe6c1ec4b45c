"""Questions with a schema: a form asks for the answer, the run goes on with it; and whatever schema there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ppio_agent_models import Interrupt

from .agents import Seat, asking

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from .console import Console

pytestmark = pytest.mark.slow

SCHEMA = Seat.model_json_schema()
NOTIFY = Interrupt(id="notify", message="Send a mail?", response_schema={"type": "boolean"})


def ask(console: Console, schema: dict[str, Any], *more: Interrupt) -> Locator:
    """Let the agent ask; returns its question."""
    console.serve(asking(schema, *more))
    console.wait_for_status(console.send("book"), "interrupted")
    return console.page.get_by_role("group", name="Which seat?")


def answered(console: Console, turn: int = 1) -> dict[str, Any]:
    """Return what the agent got in a later turn."""
    console.wait_for_status(console.turns.nth(turn), "done")
    found: dict[str, Any] = json.loads(console.turns.nth(turn).get_by_role("group", name="Value").inner_text())
    return found


def test_a_question_with_a_schema_is_a_form_and_its_answer_goes_on(console: Console) -> None:
    question = ask(console, SCHEMA)
    assert "Counted from the front" in question.inner_text()
    assert re.search(r"1 \S 30", question.inner_text())
    question.get_by_role("combobox", name="side").select_option("aisle")
    question.get_by_role("button", name="Send the answer").click()
    question.get_by_role("alert").filter(has_text="This field is required.").wait_for()
    row = question.get_by_role("spinbutton", name="row")
    assert row.get_attribute("aria-invalid") == "true"
    assert console.turns.count() == 1
    row.fill("7")
    row.press("Enter")
    assert answered(console) == {"seat": {"row": 7, "side": "aisle", "meal": ""}}
    question.wait_for(state="detached")
    assert console.turns.first.get_attribute("data-status") == "done"


def test_an_answer_is_form_and_json_both_ways(console: Console) -> None:
    question = ask(console, SCHEMA)
    question.get_by_role("spinbutton", name="row").fill("3")
    question.get_by_role("button", name="JSON", exact=True).click()
    text = question.get_by_role("textbox", name="Answer")
    assert json.loads(text.input_value()) == {"row": 3, "side": "window", "meal": ""}
    text.fill('{"row": ')
    question.get_by_role("button", name="Send the answer").click()
    question.get_by_role("alert").filter(has_text="Some fields are not JSON yet.").wait_for()
    text.fill('{"row": 4, "side": "aisle", "meal": "soup"}')
    question.get_by_role("button", name="Form", exact=True).click()
    assert question.get_by_role("textbox", name="meal").input_value() == "soup"
    question.get_by_role("button", name="Send the answer").click()
    assert answered(console) == {"seat": {"row": 4, "side": "aisle", "meal": "soup"}}


def test_several_questions_are_answered_by_one_run(console: Console) -> None:
    other = Interrupt(id="return", message="And the way back?", response_schema=SCHEMA)
    question = ask(console, SCHEMA, other, NOTIFY)
    back = console.page.get_by_role("group", name="And the way back?")
    question.get_by_role("spinbutton", name="row").fill("1")
    back.get_by_role("spinbutton", name="row").fill("2")  # fields of one name, each in its own form
    question.get_by_role("button", name="Send the answer").click()
    question.get_by_text('"row": 1').wait_for()
    console.page.get_by_role("group", name="Send a mail?").get_by_role("button", name="Reject").click()
    assert console.turns.count() == 1
    back.get_by_role("button", name="Send the answer").click()
    window = {"side": "window", "meal": ""}
    assert answered(console) == {"seat": {"row": 1, **window}, "return": {"row": 2, **window}, "notify": False}


def test_a_refused_answer_says_why_and_the_question_is_asked_again(console: Console) -> None:
    console.allowed.append("422")
    question = ask(console, SCHEMA)
    question.get_by_role("spinbutton", name="row").fill("13")
    question.get_by_role("button", name="Send the answer").click()
    console.turns.nth(1).get_by_role("alert").filter(has_text="There is no row 13.").wait_for()
    console.wait_for_status(console.turns.first, "interrupted")
    question.get_by_role("spinbutton", name="row").fill("14")
    question.get_by_role("button", name="Send the answer").click()
    assert answered(console, 2)["seat"]["row"] == 14


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        ({"type": "object", "properties": {"approved": {"type": "boolean"}}}, {"approved": True}),
        ({"type": "boolean"}, True),
    ],
)
def test_a_question_for_yes_or_no_has_buttons(console: Console, schema: dict[str, Any], payload: Any) -> None:
    question = ask(console, schema)
    question.press("a")
    assert answered(console) == {"seat": payload}
    console.wait_for_status(console.send("again"), "interrupted")
    question.get_by_role("button", name="Reject").click()
    refusal = {"approved": False} if isinstance(payload, dict) else False
    assert answered(console, 3) == {"seat": refusal}


@pytest.mark.parametrize(
    ("schema", "typed", "payload"),
    [
        ({"type": "string"}, "text", "text"),
        ({"type": "string", "enum": ["x", "y"]}, "y", "y"),
        ({"type": "array", "items": {"type": "integer"}}, "[1, 2]", [1, 2]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "5", 5),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "number"}}}, "2.5", 2.5),
        ({}, '{"any": "thing"}', {"any": "thing"}),
    ],
)
def test_answers_of_every_type_have_a_field(console: Console, schema: dict[str, Any], typed: str, payload: Any) -> None:
    question = ask(console, schema)
    if schema.get("type") == "array":
        for number in json.loads(typed):
            question.get_by_role("button", name="+").click()
            question.get_by_role("spinbutton").last.fill(str(number))
    elif "enum" in schema:
        question.get_by_role("combobox").select_option(typed)
    else:
        question.get_by_role("textbox").or_(question.get_by_role("spinbutton")).fill(typed)
    question.get_by_role("button", name="Send the answer").click()
    assert answered(console) == {"seat": payload}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"again": {"$ref": "#"}}, "required": ["again"]},
        {"type": "object", "properties": {"x": None}, "required": 5},
        {"enum": []},
        {"type": ["<b>", 3], "title": {"a": 1}, "description": ["<script>window.hacked = 1</script>"]},
    ],
)
def test_a_schema_that_is_none_is_answered_with_json_and_breaks_nothing(
    console: Console, schema: dict[str, Any]
) -> None:
    question = ask(console, schema)
    edit = question.get_by_role("button", name="Edit…").or_(question.get_by_role("button", name="JSON", exact=True))
    edit.click()
    question.get_by_role("textbox", name="Answer").fill('{"row": 1}')
    question.get_by_role("button", name="Send the answer").click()
    assert answered(console) == {"seat": {"row": 1}}
    assert console.page.evaluate("window.hacked") is None


def test_picture_of_a_question_with_a_form(console: Console, images: Path) -> None:
    question = ask(console, SCHEMA, NOTIFY)
    question.get_by_role("spinbutton", name="row").fill("7")
    console.page.screenshot(path=images / "console-form.png")
