"""What an agent is given and what not: variables, descriptors, signals; and who may look into a home."""

from __future__ import annotations

import logging
import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from ppio_agent_client.local import store
from ppio_agent_client.local.store import LocalStore
from ppio_agent_models import ConfigurationError

from .support import Place, answers, ask, eventually


def environment_of(place: Place, **more: object) -> dict[str, str]:
    environment: dict[str, str] = ask(place.create(**more), "facts")["environment"]  # type: ignore[arg-type]
    return environment


@pytest.mark.contract
def test_the_environment_is_minimal(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PPIO_API_KEY", "PPIO_AGENT_API_KEYS", "PPIO_AGENT_HOME", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "a secret")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("TMPDIR", "/tmp")
    environment = environment_of(place)
    environment.pop("PWD", None)  # The shell of the stand-in sets these two.
    environment.pop("_", None)
    assert len(environment.pop("PPIO_AGENT_API_KEYS")) > 40  # its own
    assert environment == {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "LANG": "C.UTF-8",
        "LC_TIME": "C",
        "TMPDIR": "/tmp",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "PPIO_AGENT_HOST": "127.0.0.1",
        "PPIO_AGENT_PORT": environment["PPIO_AGENT_PORT"],
    }


@pytest.mark.contract
def test_the_supervisor_knows_no_more_than_the_agent(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_API_KEY", "a secret")
    sandbox = place.create()
    assert b"a secret" not in Path(f"/proc/{place.supervisor_pid(sandbox.sandbox_id)}/environ").read_bytes()


@pytest.mark.contract
def test_variables_of_the_session_win_over_those_of_the_manifest(place: Place) -> None:
    (place.template / ".ppio-agent.yaml").write_text(
        'metadata: {"name": "x"}\nspec:\n  entrypoint: main.py\n  envVars:\n    A: manifest\n    B: manifest\n'
    )
    environment = environment_of(place, env_vars={"A": "session", "B2": "ja — 是"})
    assert (environment["A"], environment["B"], environment["B2"]) == ("session", "manifest", "ja — 是")


@pytest.mark.contract
def test_host_and_port_cannot_be_overridden(place: Place) -> None:
    environment = environment_of(place, env_vars={"PPIO_AGENT_HOST": "0.0.0.0", "PPIO_AGENT_PORT": "1"})
    assert environment["PPIO_AGENT_HOST"] == "127.0.0.1"
    assert int(environment["PPIO_AGENT_PORT"]) >= 20000


@pytest.mark.contract
def test_secrets_of_a_session_are_in_no_file(place: Place) -> None:
    place.create(env_vars={"PPIO_AGENT_API_KEYS": "the session's token"})
    files = [path for path in place.home.rglob("*") if path.is_file()]
    assert [path for path in files if b"the session's token" in path.read_bytes()] == []


@pytest.mark.contract
def test_the_agent_inherits_no_descriptor_of_the_caller(place: Place) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        descriptors = ask(place.create(), "facts")["descriptors"]
    finally:
        os.close(reading)
        os.close(writing)
    assert [name for name in descriptors if name.startswith(("pipe:", "/dev/null"))] == ["/dev/null"]


@pytest.mark.contract
def test_the_agent_inherits_no_ignored_or_blocked_signal(place: Place) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        sandbox = place.create()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        signal.signal(signal.SIGHUP, before)
    assert signal.SIGHUP not in ask(sandbox, "facts")["ignored"]
    for pid in (place.agent_pid(sandbox.sandbox_id), place.supervisor_pid(sandbox.sandbox_id)):
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"SigBlk:\t{0:016x}" in status


@pytest.mark.contract
def test_a_sandbox_outlives_the_thread_that_made_it(place: Place) -> None:
    made = []
    thread = threading.Thread(target=lambda: made.append(place.store.create(place.spec())))
    thread.start()
    thread.join()
    eventually(lambda: answers(made[0]))


def test_everything_in_the_home_is_for_its_owner_only(place: Place) -> None:
    before = os.umask(0)
    try:
        store = LocalStore(place.home.parent / "another home", python=str(place.python))
        sandbox = store.create(place.spec())
        store.templates.deploy(place.template, "an-agent")
    finally:
        os.umask(before)
    home = place.home.parent / "another home"
    eventually(lambda: answers(sandbox))
    paths = [home, *home.rglob("*")]
    wrong = {path.name for path in paths if stat.S_IMODE(path.stat().st_mode) != (0o700 if path.is_dir() else 0o600)}
    store.kill(sandbox.sandbox_id)
    assert wrong == {"main.py"}  # Copies of the agent's files keep their modes, in folders that nobody else can enter.
    assert {stat.S_IMODE(path.stat().st_mode) for path in (home / "ended").iterdir()} == {0o600}


def test_the_home_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_HOME", str(tmp_path / "by variable"))
    LocalStore()
    assert (tmp_path / "by variable" / "sandboxes").is_dir()
    monkeypatch.delenv("PPIO_AGENT_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    LocalStore()
    assert (tmp_path / ".ppio-agent" / "sandboxes").is_dir()


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_home_that_others_may_write_into_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.joinpath("home").mkdir()
    tmp_path.joinpath("home").chmod(mode)
    with pytest.raises(ConfigurationError, match=rf"can be written by others \(mode 0{mode:o}\).*chmod 700"):
        LocalStore(tmp_path / "home")


def test_a_home_of_somebody_else_is_refused(tmp_path: Path) -> None:
    home = Path("/")
    if os.geteuid() == 0:
        home = tmp_path / "home"
        home.mkdir()
        os.chown(home, 12345, 12345)
    with pytest.raises(ConfigurationError, match=f"belongs to the user with id {home.stat().st_uid}, not to you"):
        LocalStore(home)


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be used: .*PPIO_AGENT_HOME"):
        LocalStore(tmp_path / "home")


def test_the_interpreter_comes_from_the_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_PYTHON", str(place.python))
    sandbox = LocalStore(place.home).create(place.spec())
    eventually(lambda: answers(sandbox))


def test_limits_are_said_to_mean_nothing_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    store._warn_about_limits.cache_clear()
    with caplog.at_level(logging.WARNING, "ppio_agent_client"):
        for number in range(2):
            place.store.create(place.spec(f"s{number}", memory_limit="512Mi", cpu_limit="1"))
    assert [record.message for record in caplog.records if "memory_limit" in record.message] == [
        "local sandboxes are for development and do not enforce memory_limit and cpu_limit"
    ]
