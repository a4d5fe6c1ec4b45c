"""Type-checks every example by itself, as the program that it is: several of them are called `main.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Run mypy on each example; return the worst exit code."""
    worst = 0
    for path in sorted((ROOT / "examples").rglob("*.py")):
        finished = subprocess.run(
            [sys.executable, "-m", "mypy", str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if finished.returncode:
            print(finished.stdout + finished.stderr, end="")
        worst = max(worst, finished.returncode)
    print(f"examples: {'no issues' if worst == 0 else 'see above'}")
    return worst


if __name__ == "__main__":
    sys.exit(main())
