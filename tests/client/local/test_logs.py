"""The log of an agent, for somebody who was not there when it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppio_agent_client.local.store import LocalStore

from .support import Place, eventually


@pytest.mark.contract
def test_a_log_is_read_from_its_start_and_goes_on_at_the_cursor(place: Place) -> None:
    sandbox = place.create("chatty")
    log = Path(place.home, "sandboxes", sandbox.sandbox_id, "agent.log")
    first = place.store.logs("chatty")
    with log.open("ab") as file:
        file.write("grüße 世".encode()[:-1])
    assert first is not None
    second = place.store.logs("chatty", first.cursor)
    with log.open("ab") as file:
        file.write("世".encode()[-1:] + b"!\n")
    assert second is not None
    third = place.store.logs("chatty", second.cursor)

    assert first.text.startswith("hello\n")
    assert third is not None
    assert (second.text, third.text, third.is_over) == ("grüße ", "世!\n", False)


@pytest.mark.contract
def test_of_an_agent_that_ended_the_lines_that_were_not_seen_are_kept(place: Place) -> None:
    (place.template / "main.py").write_text("print('hello', flush=True)\nraise SystemExit('no more')\n")
    place.store.create(place.spec("short"))

    def read() -> list[str]:
        page = place.store.logs("short")
        return [page.text, page.cursor] if page is not None and page.is_over and page.exit_code == 1 else []

    text, cursor = eventually(read)
    again = place.store.logs("short", cursor)

    assert text == "hello\nno more\n"
    assert again is not None
    assert (again.text, again.is_over) == ("", True)


@pytest.mark.contract
def test_a_log_that_was_cut_goes_on_at_its_end(place: Place) -> None:
    sandbox = place.create("long")
    page = place.store.logs("long", f"{sandbox.sandbox_id}:999999")

    assert page is not None
    assert (page.text, page.is_over) == ("", False)
    assert int(page.cursor.rpartition(":")[2]) < 999999


@pytest.mark.contract
def test_nothing_is_known_of_a_session_that_never_was(place: Place) -> None:
    assert place.store.logs("nobody") is None


def test_a_template_can_be_deployed_with_an_interpreter_of_its_own(place: Place) -> None:
    own = place.folder / "own python"
    own.write_text(place.python.read_text())
    own.chmod(0o700)
    store = LocalStore(place.home)
    template = store.templates.deploy(place.template, "own", python=str(own))
    sandbox = store.create(place.spec("s", template_id="own"))

    assert template.metadata["python"] == str(own)
    assert eventually(lambda: (page := store.logs("s")) is not None and "hello" in page.text)
    assert store.kill(sandbox.sandbox_id)
