"""How a sandbox ends: its record moves to the ended ones, its directory goes.

The record of the end is written first, then the directory vanishes at once (by a rename), then it is removed in peace:
a reader finds either the one or the other, and a crash in between leaves nothing that is not cleaned up later.
"""

from __future__ import annotations

import os
from contextlib import suppress

from .logs import size, tail
from .names import ENDED_FOLDER, LOG_FILE, TRASH_FOLDER
from .records import write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .records import Record


def retire(directory: str, record: Record, exit_code: int | None) -> str:
    """Move a sandbox whose processes are gone to the ended ones and return what is left to `remove`.

    The caller holds the directory's lock.
    """
    home = os.path.dirname(os.path.dirname(directory))
    ended = os.path.join(home, ENDED_FOLDER, record["sandbox_id"] + ".json")
    if not os.path.exists(ended):  # A supervisor that was killed right here had the exit code; nobody else has.
        record["state"] = "ended"
        record["exit_code"] = exit_code
        record["output"] = tail(os.path.join(directory, LOG_FILE))
        record["log_bytes"] = size(os.path.join(directory, LOG_FILE))
        with suppress(OSError):  # A full disk must not keep the directory from going.
            write_json(ended, record)
    return discard(directory)


def discard(directory: str) -> str:
    """Make a directory of the home vanish at once and return what is left to `remove`."""
    home = os.path.dirname(os.path.dirname(directory))
    trash = os.path.join(home, TRASH_FOLDER, os.path.basename(directory))
    os.rename(directory, trash)
    return trash


def remove(path: str) -> None:
    """Remove a directory that was discarded, as far as possible; several may do it at once."""
    import shutil  # Takes as long to import as the supervisor to start; only ends need it.

    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        for folder, _, _ in os.walk(path):  # Top down: a folder that nobody may enter is opened before it is read.
            _open_up(folder)
        shutil.rmtree(path, ignore_errors=True)


def _open_up(folder: str) -> None:
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, 0o700)
