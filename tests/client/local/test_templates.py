"""Templates: folders by path, copies by name, and how both are found, replaced and removed."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest

from ppio_agent_client.local import agent_folder, templates
from ppio_agent_client.local.locks import Lock
from ppio_agent_client.local.store import LocalStore
from ppio_agent_models import AgentManifest, ConfigurationError, TemplateNotFoundError

from .support import Place, answers, ask, eventually, in_another_process

MANIFEST = """\
metadata:
  name: my-agent
  version: 2.1.0
  description: Says hello
  author: Ada
  tags: ["a", "b"]
spec:
  entrypoint: sub/start.py
  envVars:
    A: manifest
  runtime:
    timeout: 7
"""


def write_manifest(folder: Path, text: str = MANIFEST) -> None:
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "start.py").touch()
    (folder / ".ppio-agent.yaml").write_text(text)


@pytest.mark.contract
def test_a_folder_with_a_manifest_is_a_template(place: Place) -> None:
    write_manifest(place.template)
    template = place.store.templates.get(str(place.template))
    assert (template.template_id, template.name, template.version) == (str(place.template), "my-agent", "2.1.0")
    assert (template.description, template.author, template.tags) == ("Says hello", "Ada", ["a", "b"])


@pytest.mark.contract
def test_the_manifest_says_how_the_agent_starts(place: Place) -> None:
    write_manifest(place.template)
    sandbox = place.create()
    facts = ask(sandbox, "facts")
    assert facts["arguments"] == ["-m", "ppio_agent_runtime", "sub/start.py"]
    assert facts["environment"]["A"] == "manifest"
    assert sandbox.start_timeout_seconds == 7


@pytest.mark.contract
@pytest.mark.parametrize("present", [("main.py", "app.py", "agent.py"), ("app.py", "agent.py"), ("agent.py",)])
@pytest.mark.slow
def test_a_folder_without_a_manifest_starts_with_the_first_usual_file(place: Place, present: tuple[str, ...]) -> None:
    (place.template / "main.py").unlink()
    for name in present:
        (place.template / name).touch()
    sandbox = place.create()
    assert ask(sandbox, "facts")["arguments"][-1] == present[0]
    assert sandbox.start_timeout_seconds == 60


@pytest.mark.contract
def test_a_folder_by_its_path_is_called_by_its_last_name(place: Place) -> None:
    assert place.store.templates.get(str(place.template)).name == place.template.name


@pytest.mark.contract
@pytest.mark.parametrize("spelling", ["./it", "it/", "../start/it", ".", "~/it", "~/start/../it"])
def test_a_path_has_a_slash_or_starts_with_a_dot_or_tilde(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    start = tmp_path / "start"
    folder = start if spelling == "." else tmp_path / "it" if spelling.startswith("~") else start / "it"
    start.mkdir()
    folder.mkdir(exist_ok=True)
    (folder / "main.py").touch()
    monkeypatch.chdir(start)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place.store.templates.get(spelling).template_id == str(folder)


@pytest.mark.contract
def test_an_empty_folder_says_what_was_looked_for(place: Place, tmp_path: Path) -> None:
    tmp_path.joinpath("empty").mkdir()
    for verb in (place.store.templates.get, lambda it: place.store.create(place.spec(template_id=it))):
        with pytest.raises(
            TemplateNotFoundError, match=r"looked for \.ppio-agent\.yaml, main\.py, app\.py and agent\.py"
        ):
            verb(str(tmp_path / "empty"))
    with pytest.raises(ConfigurationError, match=r"looked for \.ppio-agent\.yaml"):
        place.store.templates.deploy(tmp_path / "empty", "x")


@pytest.mark.contract
def test_a_wrong_manifest_is_named_with_its_field(place: Place) -> None:
    write_manifest(place.template, MANIFEST.replace("timeout: 7", "timeout: 0"))
    with pytest.raises(ConfigurationError, match=r"\.ppio-agent\.yaml.*spec\.runtime\.timeout"):
        place.store.create(place.spec())


@pytest.mark.contract
def test_an_entrypoint_that_is_not_there_is_named(place: Place) -> None:
    write_manifest(place.template)
    (place.template / "sub" / "start.py").unlink()
    with pytest.raises(ConfigurationError, match=r"'sub/start\.py'"):
        place.store.templates.deploy(place.template)


@pytest.mark.contract
def test_deploy_gives_a_folder_a_name(place: Place) -> None:
    write_manifest(place.template)
    template = place.store.templates.deploy(place.template)
    assert (template.template_id, template.name, template.version) == ("my-agent", "my-agent", "2.1.0")
    assert template.metadata == {"folder": str(place.template), "entrypoint": "sub/start.py"}
    assert place.another_store().templates.all() == [template]
    assert place.another_store().templates.get("my-agent") == template


@pytest.mark.contract
def test_an_argument_wins_over_the_manifest_s_name(place: Place) -> None:
    write_manifest(place.template)
    assert place.store.templates.deploy(str(place.template), "other").template_id == "other"
    assert [template.name for template in place.store.templates.all()] == ["other"]


@pytest.mark.contract
def test_a_folder_without_a_name_says_how_to_give_one(place: Place) -> None:
    with pytest.raises(ConfigurationError, match=r"pass one, or write it into \.ppio-agent\.yaml as metadata\.name"):
        place.store.templates.deploy(place.template)


@pytest.mark.contract
@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a.b", "a/b", "..", "x" * 64, "a\n"])
def test_a_bad_name_is_refused_with_the_rule(place: Place, name: str) -> None:
    with pytest.raises(ConfigurationError, match="1 to 63 lower-case letters, digits and inner hyphens"):
        place.store.templates.deploy(place.template, name)


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a.b", "x" * 64, "a", "0", "a-b", "a--b", "x" * 63])
def test_the_rule_of_names_is_the_manifest_s(name: str) -> None:
    manifest = f'{{"metadata": {{"name": "{name}"}}, "spec": {{"entrypoint": "main.py"}}}}'
    try:
        AgentManifest.from_yaml(manifest)
    except ConfigurationError:
        assert not agent_folder.is_name(name)
    else:
        assert agent_folder.is_name(name)


@pytest.mark.contract
def test_a_folder_that_is_not_there_cannot_be_deployed(place: Place) -> None:
    with pytest.raises(ConfigurationError, match="no folder '/no/such"):
        place.store.templates.deploy("/no/such", "x")


@pytest.mark.contract
def test_an_unknown_name_is_answered_with_near_ones_and_the_way_to_deploy(place: Place) -> None:
    place.store.templates.deploy(place.template, "weather-agent")
    with pytest.raises(TemplateNotFoundError, match=r"did you mean 'weather-agent'\?.*LocalSandboxProvider\(\).deploy"):
        place.store.templates.get("wether-agent")
    with pytest.raises(TemplateNotFoundError, match=re.escape("'./My Agent'")):
        place.store.create(place.spec(template_id="My Agent"))


@pytest.mark.contract
def test_a_sandbox_is_made_from_a_name(place: Place) -> None:
    place.store.templates.deploy(place.template, "a-name")
    (place.template / "main.py").unlink()
    sandbox = place.create(template_id="a-name")
    assert sandbox.template_id == "a-name"


@pytest.mark.contract
def test_a_redeploy_replaces_the_template_and_no_running_sandbox(place: Place) -> None:
    version = place.template / "version.txt"
    version.write_text("one")
    first_template = place.store.templates.deploy(place.template, "it")
    old = place.create("old", template_id="it")
    version.write_text("two")
    second_template = place.store.templates.deploy(place.template, "it")
    new = place.create("new", template_id="it")
    assert (ask(old, "facts")["version"], ask(new, "facts")["version"]) == ("one", "two")
    assert first_template.created_at == second_template.created_at
    assert first_template.updated_at != second_template.updated_at
    assert len(list((place.home / "templates").glob("it@*"))) == 1


@pytest.mark.contract
@pytest.mark.slow
def test_a_template_can_be_redeployed_while_many_sandboxes_are_made_from_it(place: Place) -> None:
    for number in range(200):
        (place.template / f"{number}.txt").touch()
    place.store.templates.deploy(place.template, "it")
    done = threading.Event()

    def redeploy() -> None:
        store = place.another_store()
        while not done.is_set():
            store.templates.deploy(place.template, "it")

    thread = threading.Thread(target=redeploy)
    thread.start()
    try:
        made = [place.store.create(place.spec(f"s{number}", template_id="it")) for number in range(10)]
    finally:
        done.set()
        thread.join()
    for sandbox in made:
        assert len(list((place.directory(sandbox.sandbox_id) / "app").iterdir())) == 201
    place.another_store().list_sandboxes()  # A version that was being copied from is left to a later caller.
    assert len(list((place.home / "templates").glob("it@*"))) == 1


@pytest.mark.contract
def test_delete_template_forgets_the_name_and_its_files(place: Place) -> None:
    place.store.templates.deploy(place.template, "it")
    sandbox = place.create(template_id="it")
    assert place.store.templates.delete("it") is True
    assert place.store.templates.delete("it") is False
    assert place.store.templates.delete("../it") is False
    assert list((place.home / "templates").iterdir()) == []
    assert place.store.templates.all() == []
    assert answers(sandbox)


def test_a_version_that_is_being_copied_from_is_kept_until_then(place: Place) -> None:
    place.store.templates.deploy(place.template, "it")
    template_store = templates.TemplateStore(place.store._paths)
    with template_store.opened("it") as source:
        place.store.templates.delete("it")
        assert Path(source.folder, "main.py").exists()
    template_store.sweep()
    assert list((place.home / "templates").iterdir()) == []


def test_a_half_made_version_of_a_deployer_that_was_killed_is_removed(place: Place) -> None:
    program = """
import os, pathlib, sys
from ppio_agent_client.local import templates
from ppio_agent_client.local.store import LocalStore
templates.copy_folder = lambda *args, **options: (print("copying", flush=True), sys.stdin.readline())
LocalStore(pathlib.Path(sys.argv[1])).templates.deploy(sys.argv[2], "it")
"""
    with in_another_process(program, str(place.home), str(place.template)) as deployer:
        assert deployer.stdout is not None
        assert deployer.stdout.readline() == "copying\n"
        place.store.templates.all()
        LocalStore(place.home).list_sandboxes()
        assert len(list((place.home / "templates").glob("it@*"))) == 1
        deployer.send_signal(signal.SIGKILL)
    LocalStore(place.home).list_sandboxes()
    assert list((place.home / "templates").iterdir()) == []


@pytest.mark.contract
def test_what_an_agent_does_not_need_is_not_copied(place: Place) -> None:
    for name in (".git", "__pycache__", ".venv", "venv", "node_modules", ".mypy_cache", "sub/__pycache__"):
        (place.template / name).mkdir(parents=True)
        (place.template / name / "file").touch()
    (place.template / "sub" / ".env").touch()
    (place.template / "empty").mkdir()
    sandbox = place.create()
    copy = place.directory(sandbox.sandbox_id) / "app"
    copied = {str(path.relative_to(copy)) for path in copy.rglob("*")}
    assert copied == {"main.py", "sub", "sub/.env", "empty"}


@pytest.mark.contract
def test_links_within_the_folder_are_kept_and_others_left_out_with_a_warning(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").write_text("secret")
    sub = place.template / "sub"
    sub.mkdir()
    (sub / "out").symlink_to(tmp_path / "secret")
    (sub / "out too").symlink_to("../../../secret")
    (sub / "within").symlink_to(place.template / "main.py")
    (sub / "up").symlink_to("..")
    with caplog.at_level(logging.WARNING, "ppio_agent_client"):
        sandbox = place.create()
    copy = place.directory(sandbox.sandbox_id) / "app" / "sub"
    assert {path.name for path in copy.iterdir()} == {"within", "up"}
    assert (copy / "within").readlink() == Path("../main.py")
    assert (copy / "within").samefile(copy.parent / "main.py")
    [message] = [record.getMessage() for record in caplog.records]
    assert message.endswith("that point out of the folder were not copied: sub/out, sub/out too")


@pytest.mark.contract
def test_sockets_and_pipes_are_not_copied(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(place.template / "a pipe")
    monkeypatch.chdir(place.template)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a socket")
    assert ask(place.create(), "facts")["files"] == ["main.py"]


@pytest.mark.contract
def test_a_program_in_the_folder_stays_one_and_a_closed_file_can_be_changed(place: Place) -> None:
    (place.template / "tool").write_text("#!/bin/sh\n")
    (place.template / "tool").chmod(0o555)
    sandbox = place.create()
    assert (place.directory(sandbox.sandbox_id) / "app" / "tool").stat().st_mode & 0o777 == 0o755


def test_a_home_within_the_agent_s_folder_is_not_copied_into_itself(place: Place) -> None:
    store = LocalStore(place.template / ".home", python=str(place.python))
    sandbox = store.create(place.spec())
    eventually(lambda: answers(sandbox))
    assert ask(sandbox, "facts")["files"] == ["main.py"]
    store.kill(sandbox.sandbox_id)


def test_a_version_that_somebody_holds_is_not_swept(place: Place) -> None:
    version = place.home / "templates" / "it@01234567"
    version.mkdir()
    with Lock(str(version / "lock"), shared=True):
        templates.TemplateStore(place.store._paths).sweep()
        assert version.exists()
    templates.TemplateStore(place.store._paths).sweep()
    assert not version.exists()
