"""Console scripts `ppio-agent` and `ppio-sandbox-cli`; only the standard library until the extra is known to be there.

The platform's own program is called `ppio-sandbox-cli` too, and keeps working where both are installed: behind `agent`
are our commands, and what is not ours is handed, as it is, to the next executable of that name on PATH.
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

INSTALL_LINE: Final = "pip install 'ppio-agent-client[cli]'"
EXIT_USAGE: Final = 2
EXIT_CANNOT_RUN: Final = 126
EXIT_NO_PROGRAM: Final = 127
_NEEDED: Final = ("packaging", "rich", "typer", "watchfiles")
_VENDOR_NAME: Final = "ppio-sandbox-cli"
_GROUP: Final = "agent"
_PASSED_VARIABLE: Final = "PPIO_SANDBOX_CLI_PASSED"
"""Real paths of scripts like this one that a call went through already, so that two never hand it to each other."""
_NO_VENDOR_PROGRAM: Final = f"""\
{_VENDOR_NAME}: this is a command of the platform's own program, and there is none on PATH.
Install it: npm install -g ppio-sandbox-cli@beta
Here without it: {_VENDOR_NAME} {_GROUP} {{{",".join(COMMANDS)}}}
"""


def main(arguments: list[str] | None = None, *, program: str = "ppio-agent") -> int:
    """Run one command and return its exit code.

    Args:
        arguments: Those of this process unless given.
        program: What the user typed before them, for the help.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        verb = "is" if len(missing) == 1 else "are"
        sys.stderr.write(f"{program}: {', '.join(missing)} {verb} not installed. Run: {INSTALL_LINE}\n")
        return EXIT_USAGE
    from .app import run

    return run(sys.argv[1:] if arguments is None else arguments, program)


def vendor_main() -> int:
    """Run our command or the platform's program; return its exit code."""
    arguments = sys.argv[1:]
    if is_ours(arguments):
        return main(arguments[1:], program=f"{_VENDOR_NAME} {_GROUP}")
    passed = [*filter(None, os.environ.get(_PASSED_VARIABLE, "").split(os.pathsep)), _real(_own_path())]
    program = next((path for path in _vendor_programs() if _real(path) not in passed), None)
    if program is None:
        sys.stderr.write(_NO_VENDOR_PROGRAM)
        return EXIT_NO_PROGRAM
    os.environ[_PASSED_VARIABLE] = os.pathsep.join(passed)
    try:
        return _hand_over(program, arguments)
    except OSError as error:
        sys.stderr.write(f"{_VENDOR_NAME}: {program} cannot be run: {error.strerror or error}\n")
        return EXIT_CANNOT_RUN


def is_ours(arguments: Sequence[str]) -> bool:
    """Return whether these arguments are for our commands: `agent`, and one of them or none at all."""
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
    """Return the one spelling of a path; on Windows without the ending, which a launcher is called without."""
    real = os.path.realpath(path)
    return os.path.normcase(os.path.splitext(real)[0]) if sys.platform == "win32" else real  # noqa: PTH122  # a str either way


def _hand_over(program: str, arguments: Sequence[str]) -> int:
    if sys.platform != "win32":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be handed on too
        os.execv(program, [program, *arguments])  # noqa: S606  # without a shell, on purpose
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program
    return subprocess.call([program, *arguments])


if __name__ == "__main__":
    sys.exit(main())
