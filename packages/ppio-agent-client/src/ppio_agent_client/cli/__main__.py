"""Console script `ppio-agent`. Imports nothing beyond the standard library before it knows that the extra is there."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Final

INSTALL_LINE: Final = "pip install 'ppio-agent-client[cli]'"
_EXIT_USAGE: Final = 2
_NEEDED: Final = ("packaging", "rich", "typer", "watchfiles")


def main(arguments: list[str] | None = None, *, program: str = "ppio-agent") -> int:
    """Run one command and return its exit code.

    Args:
        arguments: Those of this process unless given.
        program: What the user typed before them, for the help.
    """
    if missing := [name for name in _NEEDED if not _is_installed(name)]:
        verb = "is" if len(missing) == 1 else "are"
        sys.stderr.write(f"{program}: {', '.join(missing)} {verb} not installed. Run: {INSTALL_LINE}\n")
        return _EXIT_USAGE
    from ._app import run

    return run(sys.argv[1:] if arguments is None else arguments, program)


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False


if __name__ == "__main__":
    sys.exit(main())
