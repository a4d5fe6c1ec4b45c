"""Locks: between threads as between processes, and free again however their owner ended."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ppio_agent_client.local.locks import Lock

from .support import in_another_process

HOLD = """
import sys
from ppio_agent_client.local.locks import Lock
with Lock(sys.argv[1]):
    print("mine", flush=True)
    sys.stdin.readline()
"""


def is_free(path: Path, *, shared: bool = False) -> bool:
    lock = Lock(str(path), shared=shared)
    got = lock.acquire(wait=False)
    lock.release()
    return got


def test_a_lock_excludes_others_of_the_same_process(tmp_path: Path) -> None:
    with Lock(str(tmp_path / "lock")):
        assert not is_free(tmp_path / "lock")
        assert not is_free(tmp_path / "lock", shared=True)
    assert is_free(tmp_path / "lock")


def test_shared_locks_let_each_other_in(tmp_path: Path) -> None:
    with Lock(str(tmp_path / "lock"), shared=True):
        assert is_free(tmp_path / "lock", shared=True)
        assert not is_free(tmp_path / "lock")


def test_a_waiting_thread_gets_the_lock_when_it_is_released(tmp_path: Path) -> None:
    got = threading.Event()

    def wait() -> None:
        with Lock(str(tmp_path / "lock")):
            got.set()

    with Lock(str(tmp_path / "lock")):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not got.is_set()
    thread.join()
    assert got.is_set()


def test_a_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with in_another_process(HOLD, str(tmp_path / "lock")) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        assert not is_free(tmp_path / "lock")
        holder.kill()
    assert is_free(tmp_path / "lock")


def test_a_released_lock_is_free_although_a_forked_process_has_its_descriptor(tmp_path: Path) -> None:
    lock = Lock(str(tmp_path / "lock"))
    lock.acquire()
    assert lock._descriptor is not None
    copy = os.dup(lock._descriptor)  # What a fork does.
    lock.release()
    assert is_free(tmp_path / "lock")
    os.close(copy)


def test_a_lock_in_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lock(str(tmp_path / "gone" / "lock")).acquire()
