"""The program of the page about the platform, run as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.platform import API_KEY, Platform
from tests.support.platform_agent import MODERN, agent_folder

PAGE = Path(__file__).parents[2] / "docs/platform.md"


def test_the_program_of_the_page_runs(platform: Platform, url: str, tmp_path: Path) -> None:
    (program,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
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
    assert [line.count("'turns'") for line in done.stdout.splitlines()] == [1, 1]
    assert len(list(platform.sandboxes)) == 0
