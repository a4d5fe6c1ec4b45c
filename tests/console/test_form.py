"""The form of a typed payload: every kind of field, files, JSON both ways, and what the agent refuses."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gates import eventually

from .agents import plain, typed

if TYPE_CHECKING:
    from .console import Console

pytestmark = pytest.mark.slow


def answer(console: Console, turn: int) -> dict[str, Any]:
    """Return what the agent has got."""
    console.wait_for_status(console.turns.nth(turn), "done")
    code = console.turns.nth(turn).get_by_role("group", name="Value")
    found: dict[str, Any] = json.loads(code.inner_text())
    return found


def test_every_kind_of_field_reaches_the_agent(console: Console) -> None:
    console.serve(typed())
    form = console.page.get_by_role("group", name="Form", exact=True).last
    form.get_by_role("textbox", name="name").fill("Ada")
    form.get_by_role("spinbutton", name="amount").fill("3")
    form.get_by_role("checkbox", name="express").check()
    form.get_by_role("combobox", name="color").select_option("green")
    form.get_by_role("button", name="+ address").click()
    form.get_by_role("textbox", name="street").fill("Main Street 1")
    form.get_by_role("button", name="+ Item").click()
    form.get_by_role("textbox", name="tags 1").fill("first")
    form.get_by_role("button", name="+ Item").click()
    form.get_by_role("textbox", name="tags 2").fill("second")
    form.get_by_role("button", name="Remove tags 1").click()
    form.get_by_role("combobox", name="shape").select_option("Square")
    form.get_by_role("spinbutton", name="side").fill("2.5")
    form.get_by_role("textbox", name="extra").fill('{"a": 1}')
    console.button("Send").click()
    assert answer(console, 0) == {
        "name": "Ada",
        "amount": 3,
        "express": True,
        "color": "green",
        "address": {"street": "Main Street 1", "city": "Oslo"},
        "tags": ["second"],
        "shape": {"kind": "square", "side": 2.5},
        "extra": {"a": 1},
        "photo": None,
    }


def test_a_file_in_a_field_becomes_base64(console: Console) -> None:
    console.serve(typed())
    form = console.page.get_by_role("group", name="Form", exact=True).last
    form.get_by_role("textbox", name="name").fill("Ada")
    file: Any = {"name": "photo.txt", "mimeType": "text/plain", "buffer": b"pixels"}
    form.get_by_label("Choose a file for photo").set_input_files(file)
    form.get_by_text("photo.txt · 6 B").wait_for()
    console.button("Send").click()
    assert answer(console, 0)["photo"] == "pixels"
    drop = """field => {
        const data = new DataTransfer();
        data.items.add(new File(["dropped"], "other.txt"));
        field.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
    }"""
    form.get_by_role("textbox", name="photo").evaluate(drop)
    form.get_by_text("other.txt · 7 B").wait_for()
    console.button("Send").click()
    assert answer(console, 1)["photo"] == "dropped"


def test_what_the_agent_refuses_is_said_at_the_field(console: Console) -> None:
    console.allowed.append("422")
    console.serve(typed())
    form = console.page.get_by_role("group", name="Form", exact=True).last
    form.get_by_role("textbox", name="name").fill("A")
    form.get_by_role("spinbutton", name="amount").fill("11")
    console.button("Send").click()
    name = form.get_by_role("textbox", name=re.compile("2 . 20 characters"))
    form.get_by_text("String should have at least 2 characters").wait_for()
    eventually(lambda: bool(name.evaluate("field => field === document.activeElement")), "the field has the focus")
    assert name.get_attribute("aria-invalid") == "true"
    described = (name.get_attribute("aria-describedby") or "").split()
    assert "String should have at least 2 characters" in console.page.locator(f"#{described[-1]}").inner_text()
    form.get_by_text("less than or equal to 10").wait_for()
    console.wait_for_status(console.turns.first, "failed")


def test_form_and_json_are_two_views_of_one_value(console: Console) -> None:
    console.serve(typed())
    form = console.page.get_by_role("group", name="Form", exact=True).last
    form.get_by_role("textbox", name="name").fill("Ada")
    console.button("JSON").click()
    box = console.page.get_by_role("textbox", name="Message as JSON")
    value = json.loads(box.input_value())
    assert value["name"] == "Ada"
    assert value["shape"] == {"kind": "circle", "radius": 1.0}
    box.fill(json.dumps({**value, "name": "Eve", "tags": ["x"]}))
    console.button("Form").click()
    assert form.get_by_role("textbox", name="name").input_value() == "Eve"
    assert form.get_by_role("textbox", name="tags 1").input_value() == "x"
    form.get_by_role("textbox", name="extra").fill("{")
    console.button("Send").click()
    console.page.get_by_role("alert").filter(has_text="Some fields are not JSON yet.").wait_for()
    assert console.turns.count() == 0


def test_files_of_a_prompt_are_sent_and_one_that_is_too_large_is_refused_in_the_page(console: Console) -> None:
    console.serve(plain())
    attach = console.page.get_by_label("Attach files")
    attach.set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"hello"})
    console.page.get_by_role("list", name="Files").get_by_text("a.txt").wait_for()
    turn = console.send("look at it")
    console.wait_for_status(turn, "done")
    assert "'data': 'aGVsbG8='" in turn.inner_text()
    attach.set_input_files({"name": "big.bin", "mimeType": "image/png", "buffer": b"x" * 1024 * 1024})
    console.page.get_by_role("list", name="Files").get_by_text("big.bin").wait_for()
    console.box.fill("and this")
    console.button("Send").click()
    console.page.get_by_role("alert").filter(has_text="The message has 1.4 MB; the agent takes 1.05 MB").wait_for()
    assert console.turns.count() == 1
