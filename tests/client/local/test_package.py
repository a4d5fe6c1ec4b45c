"""The package as a whole: what importing it costs, and that it can be imported where it cannot work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ppio_agent_client import local
from ppio_agent_client.local.store import LocalStore
from ppio_agent_models import ConfigurationError

HEAVY = (
    "asyncio",
    "json",
    "contextlib",
    "httpx",
    "pydantic",
    "pathlib",
    "typing",
    "dataclasses",
    "logging",
    "subprocess",
    "inspect",
)


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_imports_nothing_of_it() -> None:
    program = "import sys, ppio_agent_client.local as local; print([n for n in sys.modules if '.local.' in n])"
    assert run(program) == "[]\n"


def test_the_store_is_imported_without_pydantic_or_an_event_loop() -> None:
    program = (
        "import sys; from ppio_agent_client.local.store import LocalStore\n"
        "print([name for name in ('pydantic', 'asyncio', 'httpx') if name in sys.modules])"
    )
    assert run(program) == "[]\n"


def test_the_supervisor_imports_nothing_heavy() -> None:
    package = next(iter(local.__path__))
    program = (
        f"import sys; sys.path.append({package!r}.rpartition('/')[0])\n"
        "import local.supervisor\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    started = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert started.stdout == "[]\n"


def test_the_package_can_be_imported_without_posix() -> None:
    program = (
        "import sys\nsys.modules['fcntl'] = None\nfrom ppio_agent_client.local.store import LocalStore\nprint('fine')"
    )
    assert run(program) == "fine\n"


def test_windows_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigurationError, match="WSL"):
        LocalStore()
