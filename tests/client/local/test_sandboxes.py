"""Making, finding and ending sandboxes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ppio_agent_models import ConfigurationError, SandboxCreationError, SandboxGoneError, TemplateNotFoundError

from .support import Place, answers, ask, eventually, lives

pytestmark = pytest.mark.contract


def test_a_sandbox_runs_its_agent_at_its_url(place: Place) -> None:
    sandbox = place.store.create(place.spec("s", metadata={"team": "blue"}))
    eventually(lambda: answers(sandbox))
    assert (sandbox.session_id, sandbox.state, sandbox.created) == ("s", "running", True)
    assert sandbox.metadata == {"team": "blue"}
    assert sandbox.template_id == str(place.template)


def test_expires_at_is_the_life_from_creation(place: Place) -> None:
    sandbox = place.create(life=100)
    assert sandbox.expires_at is not None
    assert (sandbox.expires_at - sandbox.created_at).total_seconds() == pytest.approx(100)


def test_the_agent_works_on_a_copy(place: Place) -> None:
    sandbox = place.create()
    assert ask(sandbox, "facts")["cwd"] == str(place.directory(sandbox.sandbox_id) / "app")
    assert not place.directory(sandbox.sandbox_id).samefile(place.template)


def test_the_runtime_is_told_the_entrypoint(place: Place) -> None:
    assert ask(place.create(), "facts")["arguments"] == ["-m", "ppio_agent_runtime", "main.py"]


def test_find_and_get_and_list_show_the_same_sandbox_in_another_store(place: Place) -> None:
    sandbox = place.create("s")
    other = place.another_store()
    assert other.find("s") == other.get(sandbox.sandbox_id) == sandbox
    assert other.list_sandboxes() == [sandbox]


def test_what_does_not_exist_is_not_found(place: Place) -> None:
    assert place.store.find("nobody") is None
    assert place.store.get("local-0123456789abcdef-20000-01234567") is None
    assert place.store.list_sandboxes() == []
    assert place.store.kill("local-0123456789abcdef-20000-01234567") is False


@pytest.mark.parametrize("sandbox_id", ["", "..", "../ended", "/etc", "a\0b", "local-*"])
def test_an_id_that_is_none_reaches_no_file(place: Place, sandbox_id: str) -> None:
    assert place.store.get(sandbox_id) is None
    assert place.store.kill(sandbox_id) is False
    with pytest.raises(SandboxGoneError):
        place.store.pause(sandbox_id)


@pytest.mark.parametrize("session_id", ["a b", "../../etc", "sitzung-ü-会话-🤖", "x" * 256, "\ud800", "a\nb\0c"])
def test_a_session_id_is_any_text(place: Place, session_id: str) -> None:
    sandbox = place.create(session_id)
    assert sandbox.session_id == session_id
    found = place.store.find(session_id)
    assert found is not None
    assert found.sandbox_id == sandbox.sandbox_id


def test_create_joins_the_living_sandbox_and_changes_nothing(place: Place) -> None:
    first = place.create(life=500)
    second = place.store.create(place.spec(life=5))
    assert not second.created
    assert (second.sandbox_id, second.expires_at) == (first.sandbox_id, first.expires_at)


def test_create_joins_by_another_spelling_of_the_folder(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = place.create()
    monkeypatch.chdir(place.template.parent)
    link = place.template.parent / "a link"
    link.symlink_to(place.template)
    for spelling in (f"./{place.template.name}", f"{place.template}/", "./a link", f"../{link.parent.name}/a link"):
        assert place.store.create(place.spec(template_id=spelling)).sandbox_id == first.sandbox_id


def test_create_joins_a_sandbox_whose_template_is_gone(place: Place) -> None:
    first = place.create()
    (place.template / "main.py").unlink()
    assert place.store.create(place.spec()).sandbox_id == first.sandbox_id


def test_a_session_of_another_template_is_refused_with_both_names(place: Place, tmp_path: Path) -> None:
    place.create("s")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "app.py").touch()
    with pytest.raises(SandboxCreationError) as caught:
        place.store.create(place.spec("s", template_id=str(tmp_path / "other")))
    assert repr(str(place.template)) in str(caught.value)
    assert repr(str(tmp_path / "other")) in str(caught.value)


def test_a_dead_sandbox_is_replaced(place: Place) -> None:
    first = place.create()
    ask(first, "leave", code=0)
    place.ended(first.sandbox_id)
    second = place.create()
    assert second.created
    assert second.sandbox_id != first.sandbox_id


def test_sandboxes_are_listed_oldest_first(place: Place) -> None:
    made = [place.store.create(place.spec(f"s{number}")).sandbox_id for number in range(4)]
    assert [sandbox.sandbox_id for sandbox in place.store.list_sandboxes()] == made


def test_kill_returns_when_the_agent_and_its_children_are_gone(place: Place) -> None:
    sandbox = place.create()
    ask(sandbox, "refuse-to-end")
    pids = [place.agent_pid(sandbox.sandbox_id), ask(sandbox, "spawn")["pid"], ask(sandbox, "spawn")["pid"]]
    assert place.store.kill(sandbox.sandbox_id) is True
    assert [pid for pid in pids if lives(pid)] == []


def test_kill_reaches_children_that_made_a_session_of_their_own(place: Place) -> None:
    sandbox = place.create()
    child = ask(sandbox, "spawn", own_session=1)["pid"]
    place.store.kill(sandbox.sandbox_id)
    assert not lives(child)


def test_kill_says_whether_it_was_the_one(place: Place) -> None:
    sandbox = place.create()
    assert place.store.kill(sandbox.sandbox_id) is True
    assert place.store.kill(sandbox.sandbox_id) is False


def test_a_killed_sandbox_is_shown_as_ended_and_found_no_more(place: Place) -> None:
    sandbox = place.create()
    place.store.kill(sandbox.sandbox_id)
    shown = place.store.get(sandbox.sandbox_id)
    assert shown is not None
    assert (shown.state, shown.exit_code, shown.output) == ("ended", -9, "hello")
    assert place.store.find("a session") is None
    assert place.store.list_sandboxes() == []


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_verb_on_an_ended_sandbox_says_that_it_is_gone(place: Place, verb: str) -> None:
    sandbox = place.create()
    place.store.kill(sandbox.sandbox_id)
    with pytest.raises(SandboxGoneError, match=sandbox.sandbox_id) as caught:
        getattr(place.store, verb)(sandbox.sandbox_id)
    assert caught.value.output == "hello"


def test_nothing_but_a_small_record_stays_of_an_ended_sandbox(place: Place) -> None:
    sandbox = place.create()
    place.store.kill(sandbox.sandbox_id)
    eventually(lambda: not place.left_behind())
    assert list((place.home / "sandboxes").iterdir()) == list((place.home / "trash").iterdir()) == []
    assert [path.name for path in (place.home / "ended").iterdir()] == [f"{sandbox.sandbox_id}.json"]


def test_an_agent_cannot_keep_its_directory_by_its_modes(place: Place) -> None:
    (place.template / "main.py").write_text(
        "import os\nos.makedirs('a/b/c')\nos.chmod('a/b', 0)\nos.chmod('.', 0o500)\n"
    )
    sandbox = place.create()
    place.store.kill(sandbox.sandbox_id)
    eventually(lambda: not place.left_behind())
    assert list((place.home / "trash").iterdir()) == []


def test_the_record_of_an_ended_sandbox_is_forgotten_after_a_while(place: Place) -> None:
    sandbox = place.create()
    place.store.kill(sandbox.sandbox_id)
    os.utime(place.home / "ended" / f"{sandbox.sandbox_id}.json", (0, 0))
    other = place.another_store()
    other.list_sandboxes()
    assert other.get(sandbox.sandbox_id) is None


@pytest.mark.parametrize("life", [0, -1, float("nan"), float("inf"), 1e300])
def test_a_life_that_is_none_is_refused(place: Place, life: float) -> None:
    with pytest.raises(ConfigurationError, match="time to live of a sandbox"):
        place.store.create(place.spec(life=life))


def test_a_missing_folder_is_named(place: Place) -> None:
    with pytest.raises(TemplateNotFoundError, match="/no/such/agent"):
        place.store.create(place.spec(template_id="/no/such/agent"))


def test_nothing_stays_of_a_sandbox_that_could_not_be_made(place: Place) -> None:
    for env_vars in ({"A=B": "c"}, {"A": "b\0"}):
        with pytest.raises(SandboxCreationError, match="no sandbox could be started"):
            place.store.create(place.spec(env_vars=env_vars))
    assert list((place.home / "sandboxes").iterdir()) == list((place.home / "trash").iterdir()) == []
    assert place.left_behind() == []


def test_an_interpreter_that_does_not_exist_is_named(place: Place) -> None:
    store = type(place.store)(place.home, python="/no/such/python")
    with pytest.raises(SandboxCreationError, match="/no/such/python"):
        store.create(place.spec())


def test_an_interpreter_that_cannot_be_executed_is_named(place: Place) -> None:
    place.python.write_bytes(b"\x7fELF is not enough")
    with pytest.raises(SandboxCreationError, match=r"Exec format error.*a python"):
        place.store.create(place.spec())
    eventually(lambda: not place.left_behind())
    assert list((place.home / "sandboxes").iterdir()) == []


def test_an_interpreter_without_the_runtime_says_how_to_get_it(place: Place) -> None:
    place.python.write_text('#!/bin/sh\necho "$0: No module named ppio_agent_runtime" >&2\nexit 1\n')
    sandbox = place.store.create(place.spec())
    ended = place.ended(sandbox.sandbox_id)
    assert ended.exit_code == 1
    assert "pip install ppio-agent-runtime" in ended.output
    assert repr(str(place.python)) in ended.output
