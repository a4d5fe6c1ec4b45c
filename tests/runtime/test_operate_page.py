"""docs/operate.md: its demonstration is run as it is printed, and its table of settings is that of `AgentConfig`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "operate.md"
FENCE = re.compile(r"^```(python|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_page(folder: Path) -> list[str]:
    """Run the page's commands in one shell, on ports that are free, and return what each block printed."""
    text = PAGE.read_text(encoding="utf-8")
    for port in (8080, 4318):
        text = text.replace(str(port), str(free_port()))
    commands = ["set -euo pipefail"]
    for language, block in FENCE.findall(text):
        if language == "python":
            name, _, program = block.partition("\n")
            (folder / name.removeprefix("# ")).write_text(program, encoding="utf-8")
        else:
            commands.append(f"{block}echo; echo '=== end of block'")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PPIO_", "OTEL_"))}
    clean["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    transcript = folder / "transcript"
    with transcript.open("w") as output:  # no pipe: agents that a failed command left behind would hold it open
        shell = subprocess.Popen(
            ["bash", "-c", "\n".join(commands)],
            cwd=folder,
            env=clean,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout=100)
        finally:
            with suppress(ProcessLookupError):  # nobody is left when all went well
                os.killpg(shell.pid, signal.SIGKILL)
    printed = transcript.read_text(encoding="utf-8")
    assert code == 0, printed
    return printed.split("\n=== end of block\n")[:-1]


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs bash and curl")
@pytest.mark.slow
def test_the_demonstration_runs_as_printed(tmp_path: Path) -> None:
    limits, metrics, trace, keys, drain, settings = run_page(tmp_path)
    assert "401 200 200 200 200 200 429" in limits
    assert "retry-after: " in limits
    assert '"error_type":"RateLimitedError"' in limits
    assert re.search(r"ppio_agent_rejected_total +1 +\{'reason': 'rate_limited'\}", metrics)
    assert re.search(r"ppio_agent_invocations_total +5 +\{'mode': 'json', 'outcome': 'success'\}", metrics)
    assert "invoke_agent demo trace 0af7651916cd43dd8448eb211c80319c parent b7ad6b7169203331" in trace
    assert "gen_ai.conversation.id s-1" in trace
    assert '"request_id":"r-1"' in trace
    assert keys.splitlines()[:3] == [
        "first-key: 200 401 ",
        "first-key,second-key: 200 200 ",
        "second-key: 401 200 ",
    ]
    assert sorted(drain.splitlines()[:2]) == ["25 streams: complete, 20 chunks", "25 streams: told DrainingError"]
    assert "exit code 0\n25\n" in drain
    assert "***" in settings
    assert not any("key" in line and "***" not in line for line in settings.splitlines())


def test_the_table_of_settings_is_that_of_the_code() -> None:
    command = [sys.executable, "scripts/settings_table.py", "--check"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
