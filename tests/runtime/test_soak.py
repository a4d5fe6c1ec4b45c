from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_short_soak_leaves_nothing_behind() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "tests.bench.soak", "--requests", "3000", "--callers", "32", "--seconds", "100"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "3000 requests" in finished.stdout
    assert len(re.findall(r"[\d.]+ MB", finished.stdout)) == 5
