"""Console scripts `ppio-agent` and `ppio-sandbox-cli`; uses only the standard library until the extra is found.

The platform's own program is called `ppio-sandbox-cli` too, and keeps working where both are installed: behind `agent`
are our commands, and all other arguments are passed unchanged to the next executable of that name on PATH.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from .commands import COMMANDS
from .messages import choose_language, tr

INSTALL_LINE: Final = "pip install 'ppio-agent-client[cli]'"
EXIT_USAGE: Final = 2
EXIT_CANNOT_RUN: Final = 126
EXIT_NO_PROGRAM: Final = 127
_NEEDED: Final = ("packaging", "prompt_toolkit", "rich", "typer", "watchfiles")
_VENDOR_NAME: Final = "ppio-sandbox-cli"
_GROUP: Final = "agent"
_PASSED_VARIABLE: Final = "PPIO_SANDBOX_CLI_PASSED"
"""Real paths of scripts like this one that a call has passed through, so that two never call each other forever."""
_INSTALL_VENDOR_PROGRAM: Final = "npm install -g ppio-sandbox-cli@beta"


def main(arguments: list[str] | None = None, *, program: str = "ppio-agent") -> int:
    """Run one command and return its exit code.

    Args:
        arguments: Those of this process unless given.
        program: The program's name in the help.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    choose_language(english="--json" in arguments)
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        names = ", ".join(missing)
        problem = tr("Not installed: {names}. Run: {command}", names=names, command=INSTALL_LINE)
        sys.stderr.write(f"{program}: {problem}\n")
        return EXIT_USAGE
    from .app import run

    return run(arguments, program)


def vendor_main() -> int:
    """Run our command or the platform's program, and return its exit code."""
    arguments = sys.argv[1:]
    if is_ours(arguments):
        return main(arguments[1:], program=f"{_VENDOR_NAME} {_GROUP}")
    passed = [*filter(None, os.environ.get(_PASSED_VARIABLE, "").split(os.pathsep)), _real(_own_path())]
    program = next((path for path in _vendor_programs() if _real(path) not in passed), None)
    choose_language(english="--json" in arguments)
    if program is None:
        problem = tr(
            "this is a command of the platform's own program, which is not on PATH.\n"
            "Install it: {command}\nWithout it you have: {ours}",
            command=_INSTALL_VENDOR_PROGRAM,
            ours=f"{_VENDOR_NAME} {_GROUP} {{{','.join(COMMANDS)}}}",
        )
        sys.stderr.write(f"{_VENDOR_NAME}: {problem}\n")
        return EXIT_NO_PROGRAM
    os.environ[_PASSED_VARIABLE] = os.pathsep.join(passed)
    try:
        return _hand_over(program, arguments)
    except OSError as error:
        problem = tr("{program} cannot be run: {reason}", program=program, reason=error.strerror or error)
        sys.stderr.write(f"{_VENDOR_NAME}: {problem}\n")
        return EXIT_CANNOT_RUN


def is_ours(arguments: Sequence[str]) -> bool:
    """Return whether these arguments are for our commands: `agent`, alone or followed by one of them."""
    if arguments[:1] != [_GROUP]:
        return False
    command = next((argument for argument in arguments[1:] if not argument.startswith("-")), None)
    return command is None or command in COMMANDS


def _own_path() -> str:
    called = sys.argv[0]
    return called if os.path.dirname(called) else shutil.which(called) or called  # noqa: PTH120  # as it was typed


def _vendor_programs() -> Iterator[str]:
    """Yield every executable of that name, in the order in which a shell would find them."""
    endings = os.environ.get("PATHEXT", ".EXE;.CMD;.BAT").split(os.pathsep) if sys.platform == "win32" else [""]
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        for ending in endings:
            path = Path(folder or os.curdir) / f"{_VENDOR_NAME}{ending}"
            if path.is_file() and os.access(path, os.X_OK):
                yield str(path)


def _real(path: str) -> str:
    """Return the canonical path; on Windows without the extension, which is omitted when a launcher is called."""
    real = os.path.realpath(path)
    return os.path.normcase(os.path.splitext(real)[0]) if sys.platform == "win32" else real  # noqa: PTH122  # a str either way


def _hand_over(program: str, arguments: Sequence[str]) -> int:
    if sys.platform != "win32":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and the program would inherit that.
        os.execv(program, [program, *arguments])  # noqa: S606  # without a shell, on purpose
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program.
    return subprocess.call([program, *arguments])


if __name__ == "__main__":
    sys.exit(main())
