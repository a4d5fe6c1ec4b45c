"""`ppio-sandbox-cli`: our commands behind `agent`, and the platform's own program for all else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppio_agent_client.cli.__main__ import is_ours
from ppio_agent_client.cli.commands import COMMANDS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shell scripts stand for programs")

OURS = f"#!{sys.executable}\nfrom ppio_agent_client.cli.__main__ import vendor_main as main\nraise SystemExit(main())\n"
THEIRS = '#!/bin/sh\nprintf "%s|" "$@"; cat; echo to-stderr >&2; exit 7\n'


def script(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "ppio-sandbox-cli"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def call(*arguments: str, folders: list[Path], stdin: str = "") -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*map(str, folders), "/usr/bin", "/bin"])
    return subprocess.run(
        ["ppio-sandbox-cli", *arguments],
        executable=folders[0] / "ppio-sandbox-cli",
        env={"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.slow
def test_our_commands_are_ours(tmp_path: Path) -> None:
    script(tmp_path / "a", OURS)
    script(tmp_path / "b", THEIRS)
    ended = call("agent", "init", "--help", folders=[tmp_path / "a", tmp_path / "b"])
    assert ended.returncode == 0
    assert "Usage: ppio-sandbox-cli agent init" in ended.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["sandbox", "list", "--state", "a b"],
        ["agent", "launch", "--no-cache"],
        ["agent", "configure"],
        ["--version"],
        [],
        [""],
    ],
)
def test_everything_else_is_handed_on_as_it_is(tmp_path: Path, arguments: list[str]) -> None:
    script(tmp_path / "a", OURS)
    script(tmp_path / "b", THEIRS)
    ended = call(*arguments, folders=[tmp_path / "a", tmp_path / "b"], stdin="from stdin")
    given = "".join(f"{argument}|" for argument in arguments) or "|"
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, f"{given}from stdin", "to-stderr\n")


def test_it_never_hands_on_to_itself(tmp_path: Path) -> None:
    own = script(tmp_path / "a", OURS)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "ppio-sandbox-cli").symlink_to(own)
    ended = call("sandbox", "list", folders=[tmp_path / "a", tmp_path / "link", tmp_path / "a"])
    assert ended.returncode == 127
    assert "npm install -g ppio-sandbox-cli@beta" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_two_of_us_end_at_the_vendors_program(tmp_path: Path) -> None:
    script(tmp_path / "a", OURS)
    script(tmp_path / "b", f"{OURS}# another environment\n")
    script(tmp_path / "c", THEIRS)
    assert call("x", folders=[tmp_path / "a", tmp_path / "b", tmp_path / "c"]).returncode == 7


def test_two_of_us_alone_do_not_go_round(tmp_path: Path) -> None:
    script(tmp_path / "a", OURS)
    script(tmp_path / "b", f"{OURS}# another environment\n")
    assert call("x", folders=[tmp_path / "a", tmp_path / "b"]).returncode == 127


def test_a_program_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    script(tmp_path / "a", OURS)
    script(tmp_path / "b", "#!/no/such/interpreter\n")
    ended = call("x", folders=[tmp_path / "a", tmp_path / "b"])
    assert ended.returncode == 126
    assert "cannot be run" in ended.stderr


def test_what_is_ours() -> None:
    assert is_ours(["agent"])
    assert is_ours(["agent", "--help"])
    assert is_ours(["agent", "--json", "list"])
    assert all(is_ours(["agent", name]) for name in COMMANDS)
    assert not is_ours(["agent", "launch"])
    assert not is_ours(["init"])
    assert not is_ours([])
