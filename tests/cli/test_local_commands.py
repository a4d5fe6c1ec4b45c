"""`deploy --local`, `list`, `info`, `sessions`, `logs`, `delete`: what is there, and how it goes away."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine

from .agents import write_agent


@pytest.fixture
def living(cli: CommandLine, parrot: Path) -> str:
    """A session that lives."""
    command = ("invoke", "--local", "-t", "./parrot", "-i", "say something", "--keep", "--json")
    session_id: str = cli.run(*command).document["session_id"]
    return session_id


@pytest.mark.slow
def test_a_template_is_deployed_listed_shown_used_and_deleted(cli: CommandLine, parrot: Path) -> None:
    empty = cli.run("list", "--local")
    deployed = cli.run("deploy", "--local", "--config", "parrot/.ppio-agent.yaml", "--json")
    listed = cli.run("list", "--local", "--json")
    shown = cli.run("info", "--local", "--template-id", "parrot")
    described = cli.run("info", "--local", "--template-id", "parrot", "--json")
    asked = cli.run("invoke", "--local", "--template-id", "parrot", "--input", "heard")
    deleted = cli.run("delete", "--local", "--template-id", "parrot", "--yes")

    assert "Make one: ppio-agent deploy --local" in empty.err
    assert deployed.document == {
        "template_id": "parrot",
        "name": "parrot",
        "version": "1.2.3",
        "local": True,
        "status": "deployed",
        "folder": str(parrot),
        "python": None,
    }
    assert [one["template_id"] for one in listed.document] == ["parrot"]
    assert "description  Does what it is told\n" in shown.out
    assert described.document["description"] == "Does what it is told"
    assert asked.out == "1\n"
    assert (deleted.code, deleted.out) == (0, "Deleted parrot.\n")
    assert cli.run("info", "--local", "--template-id", "parrot").code == 3
    assert "# mine" in (parrot / ".ppio-agent.yaml").read_text()


@pytest.mark.slow
def test_it_is_said_whether_the_folder_or_its_deployed_copy_is_asked(cli: CommandLine) -> None:
    write_agent(cli.folder)
    alone = cli.run("invoke", "--local", "--input", "show PATH", "--json")
    assert cli.run("deploy", "--local").code == 0
    (cli.folder / "main.py").write_text((cli.folder / "main.py").read_text().replace('"said"', '"said anew"'))
    folder = cli.run("invoke", "--local", "--input", "say x")
    deployed = cli.run("invoke", "--local", "--template-id", "parrot", "--input", "say x")

    assert (folder.out, deployed.out) == ("said anew\n", "said\n")
    hint = "To call its deployed copy:\n  ppio-agent invoke --local --template-id parrot"
    assert [hint in ended.err for ended in (alone, folder, deployed)] == [False, True, False]
    assert alone.document["template_id"] == str(cli.folder)


@pytest.mark.slow
def test_a_field_that_means_nothing_is_told_once_wherever_a_manifest_is_read(cli: CommandLine, parrot: Path) -> None:
    manifest = parrot / ".ppio-agent.yaml"
    manifest.write_text(manifest.read_text() + "    memroy_limits: 1Gi\n")
    said = "unknown field 'spec.runtime.memroy_limits', ignored; did you mean 'memory_limit'?"
    for command in (
        ("deploy", "--local", "--config", "parrot"),
        ("deploy", "--local", "--dry-run", "--config", "parrot"),
        ("invoke", "--local", "--template-id", "./parrot", "--input", "heard"),
        ("deploy", "--dry-run", "--config", "parrot"),
    ):
        ended = cli.run(*command, PPIO_API_KEY="k")
        assert (ended.code, ended.err.count(said)) == (0, 1), ended.err


@pytest.mark.slow
def test_a_name_of_another_folder_is_only_taken_over_on_request(cli: CommandLine, parrot: Path) -> None:
    other = write_agent(cli.folder / "other", name="parrot")
    assert cli.run("deploy", "--local", "--config", parrot).code == 0
    refused = cli.run("deploy", "--local", "--config", other)
    assert (refused.code, str(parrot) in refused.err, "--update" in refused.err) == (1, True, True)
    assert cli.run("deploy", "--local", "--config", other, "--update").code == 0


@pytest.mark.slow
def test_a_dry_run_does_nothing(cli: CommandLine, parrot: Path) -> None:
    ended = cli.run("deploy", "--local", "--config", parrot, "--dry-run", "--json")
    assert (ended.document["dry_run"], ended.document["status"]) == (True, "pending")
    assert cli.run("list", "--local", "--json").document == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--config", "nowhere"), "nowhere does not exist"),
        (("--tag", "v1"), "are for the platform"),
        (("--config", "empty.yaml"), "must be named .ppio-agent.yaml"),
        (("--config", "gone"), "names the entrypoint 'main.py', which does not exist"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_deployed_says_why(cli: CommandLine, parrot: Path, options: tuple[str, ...], says: str) -> None:
    shutil.copy(parrot / ".ppio-agent.yaml", cli.folder / "empty.yaml")
    (cli.folder / "main.py").touch()
    (write_agent(cli.folder / "gone") / "main.py").unlink()
    ended = cli.run("deploy", "--local", *options)
    assert (ended.code, says in ended.err) == (2, True), ended.err


@pytest.mark.slow
def test_an_agent_gets_an_environment_of_its_own(cli: CommandLine, parrot: Path) -> None:
    _write_wheel(parrot / "stand_in-1.0-py3-none-any.whl")
    (parrot / "requirements.txt").write_text("./stand_in-1.0-py3-none-any.whl\n")
    install = ("deploy", "--local", "--install", "--no-import", "--config", parrot)  # a stand-in cannot be imported
    deployed = cli.run(*install, "--json", PIP_NO_INDEX="1")
    python = Path(deployed.document["python"])

    assert python.is_relative_to(cli.home / "environments")
    where = "import ppio_agent_runtime as r; print(r.__file__)"
    assert str(python.parents[1]) in subprocess.check_output([python, "-c", where], text=True)
    (parrot / "requirements.txt").write_text("no-such-package-of-ours\n")
    failed = cli.run(*install, PIP_NO_INDEX="1")
    assert (failed.code, "no-such-package-of-ours" in failed.err, "Traceback" in failed.err) == (1, True, False)


@pytest.mark.slow
def test_pyproject_and_wheels_of_the_folder_are_installed(cli: CommandLine, parrot: Path) -> None:
    (parrot / "wheels").mkdir()
    _write_wheel(parrot / "wheels" / "stand_in-1.0-py3-none-any.whl")
    (parrot / "requirements.txt").unlink()
    install = ("deploy", "--local", "--install", "--no-import", "--config", parrot)
    neither = cli.run(*install)
    assert (neither.code, "needs requirements.txt or pyproject.toml" in neither.err) == (2, True)

    (parrot / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\ndependencies = ['stand-in']\n")
    (parrot / "uv.lock").write_text("version = 1\n")
    ended = cli.run(*install, "--json", PIP_NO_INDEX="1", PATH="/usr/bin:/bin")
    python = Path(ended.document["python"])
    assert str(python.parents[1]) in subprocess.check_output(
        [python, "-c", "import ppio_agent_runtime as r; print(r.__file__)"], text=True
    )
    assert "uv is not on PATH, so the versions in uv.lock are not used" in ended.err
    (parrot / "pyproject.toml").write_text("[tool.poetry]\n")
    assert "has no dependencies in [project]" in cli.run(*install).err


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
def test_a_lock_file_is_installed_by_uv(cli: CommandLine, parrot: Path) -> None:
    (parrot / "requirements.txt").unlink()
    (parrot / "wheels").mkdir()
    _write_wheel(parrot / "wheels" / "stand_in-1.0-py3-none-any.whl")
    (parrot / "pyproject.toml").write_text(
        "[project]\nname = 'x'\nversion = '1'\nrequires-python = '>=3.11'\ndependencies = ['stand-in']\n"
        "[tool.uv.sources]\nstand-in = { path = 'wheels/stand_in-1.0-py3-none-any.whl' }\n"
    )
    subprocess.run(["uv", "lock", "--offline"], cwd=parrot, check=True)
    ended = cli.run("deploy", "--local", "--install", "--no-import", "--config", parrot, "--json")
    python = ended.document["python"]
    subprocess.run([python, "-c", "import ppio_agent_runtime"], check=True)


@pytest.mark.parametrize(
    ("main", "says"),
    [
        ("import no_such_library\n", "main.py:1: error: importing it fails: ModuleNotFoundError"),
        ("x = 1\n", "defines no PPIOAgentRuntimeApp"),
        ("from ppio_agent_runtime import *\napp = PPIOAgentRuntimeApp()\n", "has no @app.entrypoint"),
    ],
)
@pytest.mark.slow
def test_an_agent_that_cannot_start_is_not_deployed(cli: CommandLine, parrot: Path, main: str, says: str) -> None:
    (parrot / "main.py").write_text(main)
    ended = cli.run("deploy", "--local", "--config", parrot)
    assert (ended.code, ended.out, says in ended.err, "--no-import" in ended.err) == (1, "", True, True), ended.err
    assert cli.run("list", "--local", "--json").document == []
    assert cli.run("deploy", "--local", "--no-import", "--config", parrot).code == 0


def _write_wheel(path: Path) -> None:
    """Write a wheel by hand, so that no index is needed: a stand-in for the runtime."""
    about = "stand_in-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("ppio_agent_runtime.py", "")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(
            f"{about}/RECORD", f"ppio_agent_runtime.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n"
        )


@pytest.mark.slow
def test_sessions_are_listed_and_closed(cli: CommandLine, living: str) -> None:
    [listed] = cli.run("sessions", "--local", "--json").document
    assert (listed["session_id"], listed["status"]) == (living, "active")
    assert living in cli.run("sessions", "list", "--local").out
    assert cli.run("sessions", "close", living, "--local", "--json").document == {
        "session_id": living,
        "status": "closed",
    }
    assert "No sessions are running." in cli.run("sessions", "--local").err
    assert cli.run("sessions", "pause", living, "--local").code == 3


@pytest.mark.slow
def test_a_log_is_shown_in_full_or_its_end(cli: CommandLine, living: str) -> None:
    cli.run("invoke", "--local", "-s", living, "-i", "say 世界")
    full = cli.run("logs", "--local", "--session-id", living)
    end = cli.run("logs", "--local", "--session-id", living, "--lines", "1", "--json")
    assert "something\n" in full.out
    assert end.document == {"text": "世界\n"}
    assert cli.run("logs", "--local", "--session-id", "nobody").code == 3


@pytest.mark.slow
def test_a_log_is_followed_to_the_end_of_the_agent(cli: CommandLine, living: str) -> None:
    follower = cli.start("logs", "--local", "--session-id", living, "--follow", stderr=subprocess.PIPE)
    assert follower.stdout is not None
    while "something" not in (line := follower.stdout.readline()):
        assert line
    cli.run("invoke", "--local", "-s", living, "-i", "die with these words")
    out, err = follower.communicate(timeout=60)
    assert (follower.returncode, out) == (0, "with these words\n")
    assert err == "The agent has ended with exit code 3.\n"


@pytest.mark.slow
def test_nothing_is_deleted_unasked(cli: CommandLine, living: str) -> None:
    refused = cli.run("delete", "--local", "--session-id", living)
    neither = cli.run("delete", "--local")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert (neither.code, "either --template-id or --session-id" in neither.err) == (2, True)

    with cli.terminal("delete", "--local", "--session-id", living) as terminal:
        terminal.wait_for("y/n")
        terminal.type("n")
        assert terminal.end() == 130
    with cli.terminal("delete", "--local", "--session-id", living) as terminal:
        terminal.wait_for("y/n")
        terminal.type("y")
        assert terminal.end() == 0
    assert cli.run("delete", "--local", "--session-id", living, "--yes", "--json").error["exit_code"] == 3


@pytest.mark.parametrize("command", [("deploy", "--config", "parrot"), ("delete", "-t", "x", "--yes")])
@pytest.mark.slow
def test_templates_of_another_place_are_left_alone(cli: CommandLine, parrot: Path, command: tuple[str, ...]) -> None:
    ended = cli.run(*command, PPIO_AGENT_PROVIDER="elsewhere", PPIO_API_KEY="sk_1")
    assert (ended.code, "'elsewhere'" in ended.err) == (2, True)
