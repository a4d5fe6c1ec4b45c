"""The programs of the page about the platform, run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.platform import API_KEY, Platform
from tests.support.platform_agent import MODERN, agent_folder

PAGE = Path(__file__).parents[2] / "docs/platform.md"


PROGRAMS = re.findall(r"^```py\n# (\S+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
PRINTS = {
    "on_the_platform.py": r"\{'turns': 1,.*\n\{'turns': 2,.*\n",
    "files.py": r"\{'turns': 1,.*\ntotal 4\n.* data\.csv\n\n",
}


@pytest.mark.parametrize(("name", "program"), PROGRAMS)
@pytest.mark.slow
def test_a_program_of_the_page_runs(platform: Platform, url: str, tmp_path: Path, name: str, program: str) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"), name="my-agent")
    given = {"PPIO_API_KEY": API_KEY, "PPIO_API_URL": url, "PPIO_SANDBOX_URL": url, "PPIO_DOMAIN": MODERN}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PPIO_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment | given,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(PRINTS[name], done.stdout)
    assert len(list(platform.sandboxes)) == 0
