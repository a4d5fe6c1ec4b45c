"""The room as a whole: what importing it costs, and that it can be imported where it cannot work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ppio_agent_client import _local
from ppio_agent_models import ConfigurationError

HEAVY = ("asyncio", "httpx", "pydantic", "pathlib", "typing", "dataclasses", "logging", "subprocess", "inspect")


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_importing_the_room_imports_nothing_of_it() -> None:
    assert (
        run("import sys, ppio_agent_client._local as room; print([n for n in sys.modules if '_local.' in n])") == "[]\n"
    )


def test_the_store_is_imported_without_pydantic_or_an_event_loop() -> None:
    program = (
        "import sys; from ppio_agent_client._local import LocalStore\n"
        "print([name for name in ('pydantic', 'asyncio', 'httpx') if name in sys.modules])"
    )
    assert run(program) == "[]\n"


def test_the_supervisor_imports_nothing_heavy() -> None:
    room = next(iter(_local.__path__))
    program = (
        f"import sys; sys.path.append({room!r}.rpartition('/')[0])\n"
        "import _local.supervisor, _local.watch\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    started = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert started.stdout == "[]\n"


def test_the_room_can_be_imported_without_posix() -> None:
    program = "import sys\nsys.modules['fcntl'] = None\nfrom ppio_agent_client._local import LocalStore\nprint('fine')"
    assert run(program) == "fine\n"


def test_windows_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigurationError, match="WSL"):
        _local.LocalStore()


def test_the_room_exports_what_it_says() -> None:
    assert _local.__all__ == ["LocalStore"]
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        _local.Other  # noqa: B018
