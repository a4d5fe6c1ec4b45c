"""Serves an agent for `ppio-agent dev`, under the agent's own Python, which knows nothing of ours but the runtime.

Called as `python -c <this text> <lifeline> <arguments of ppio_agent_runtime, or a program with its own>`. The lifeline
is the number of a pipe that ends with the command, however that ended, or -1.
"""

import os
import runpy
import signal
import sys
import threading
import traceback
from pathlib import Path

FOLDER = Path.cwd().resolve()
NOT_THEIRS = {"site-packages", "dist-packages", ".venv", "venv"}


def is_theirs(file: str) -> bool:
    """Return whether a file is of the agent itself, and not of a library inside its folder."""
    if file.startswith("<"):
        return False
    path = Path(file).resolve()
    return path.is_relative_to(FOLDER) and not NOT_THEIRS & set(path.relative_to(FOLDER).parts)


def keep_their_frames(report: traceback.TracebackException | None) -> None:
    """Leave out the frames of the runtime and of libraries, wherever some of the agent's own remain."""
    if report is None:
        return
    frames = [frame for frame in report.stack if is_theirs(frame.filename)]
    if frames or isinstance(getattr(report, "filename", None), str):  # a syntax error names its place itself
        report.stack = traceback.StackSummary.from_list(frames)
    keep_their_frames(report.__cause__)
    keep_their_frames(report.__context__)


def end_with(lifeline: int) -> None:
    """End with the command: its end of the pipe is closed when it is gone, killed or not."""
    os.read(lifeline, 1)
    if sys.platform != "win32":
        os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> None:
    """Serve; tell an error in the agent's own words."""
    lifeline = int(sys.argv.pop(1))
    if lifeline >= 0:
        threading.Thread(target=end_with, args=[lifeline], daemon=True).start()
    try:
        if sys.argv[1].endswith("script.py") and Path(sys.argv[1]).is_absolute():
            sys.argv.pop(0)
            runpy.run_path(sys.argv[0], run_name="__main__")
        else:
            runpy.run_module("ppio_agent_runtime", run_name="__main__", alter_sys=True)
    except Exception as error:  # noqa: BLE001  # whatever the agent's code raises
        report = traceback.TracebackException.from_exception(error)
        keep_their_frames(report)
        sys.stderr.write("".join(report.format()))
        if isinstance(error, ModuleNotFoundError):
            sys.stderr.write("Is it in requirements.txt? Then: pip install -r requirements.txt\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
