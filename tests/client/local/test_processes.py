"""Processes are recognised by id and start, whichever way the system tells of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppio_agent_client.local import processes

from .support import eventually, state_of


def test_a_process_keeps_its_mark_and_another_has_another() -> None:
    mine = processes.started_at(os.getpid())
    assert mine is not None
    assert mine == processes.started_at(os.getpid())
    assert mine != processes.started_at(1)


def test_a_process_with_brackets_in_its_name_is_read(tmp_path: Path) -> None:
    (tmp_path / "a) S 1 (b").symlink_to("/bin/sleep")
    with subprocess.Popen([tmp_path / "a) S 1 (b", "600"], start_new_session=True) as child:
        [seen] = [process for process in processes.processes() if process.pid == child.pid]
        assert (seen.parent, seen.group, seen.session) == (os.getpid(), child.pid, child.pid)
        child.kill()


def test_a_zombie_does_not_live() -> None:
    with subprocess.Popen(["true"]) as child:
        eventually(lambda: state_of(child.pid) == "Z")
        assert processes.started_at(child.pid) is None
        assert processes.started_at(child.pid, zombies=True) is not None
        assert child.pid not in {process.pid for process in processes.processes()}


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="needs ps")
def test_ps_tells_the_same_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as child:
        [seen] = [process for process in processes.processes() if process.pid == child.pid]
        monkeypatch.setattr(sys, "platform", "another")
        [told] = [process for process in processes.processes() if process.pid == child.pid]
        assert (told.parent, told.group, told.session) == (seen.parent, seen.group, seen.session)
        assert processes.started_at(child.pid) == told.started
        child.kill()
    assert processes.started_at(child.pid) is None
