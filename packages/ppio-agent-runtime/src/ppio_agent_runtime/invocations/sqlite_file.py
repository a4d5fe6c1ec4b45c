"""The file of a store in SQLite: who may read it, which instance it is, and which of its failures may pass."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import time
import uuid
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""Linux: an ID that changes with each boot (random(4))."""
_PASSING_ERRORS: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_BUSY}
)
_PASSING_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_RETRY_SECONDS: Final = 0.05


def make_private(path: Path) -> None:
    """Make the file readable only for its owner, as it has callers' results; SQLite gives `-wal` the same mode."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


def use_write_ahead_log(database: sqlite3.Connection, seconds: float) -> None:
    """Switch the journal mode; SQLite itself doesn't wait while another process does the same."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def instance_id_of(database: sqlite3.Connection, path: Path) -> str | None:
    """Return an ID of this file since the last boot, or None if the system has no boot ID.

    A power cut may lose the last commits (`synchronous = NORMAL`), and a copy of the file misses later ones: neither
    may have the ID of the store that had them.
    """
    database.execute("INSERT INTO store SELECT ? WHERE NOT EXISTS (SELECT 1 FROM store)", (uuid.uuid4().hex,))
    (store_id,) = database.execute("SELECT id FROM store").fetchone()
    if not _BOOT_ID.exists():
        return None
    file = path.stat()
    facts = f"{store_id} {file.st_dev} {file.st_ino} {_BOOT_ID.read_text()}"
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def may_pass(error: sqlite3.Error | OSError, path: Path) -> bool:
    """Return whether the disk or the database is at fault, not the setting: then the agent starts without it."""
    if not isinstance(error, sqlite3.Error):
        return error.errno in _PASSING_ERRNOS
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without its extension
    return code in _PASSING_ERRORS or (code == sqlite3.SQLITE_NOTADB and _was_database(path))


def _was_database(path: Path) -> bool:
    """Return whether a file begins with SQLite's header (file format, section 1.3), or with zeros of a lost block."""
    with path.open("rb") as file:
        return file.read(16).strip(b"\0") in (b"SQLite format 3", b"")
