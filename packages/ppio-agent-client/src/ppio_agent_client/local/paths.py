"""The folder for all local data: its layout, and a check of its owner and permissions.

    lock, next-port      the lock of the whole home, and the port to try next
    locks/               one lock per session, by a part of its hash
    sandboxes/<id>/      record.json, lock, wakeup, agent.log, supervisor.log, app/
    ended/<id>.json      the records of sandboxes that ended recently
    templates/<name>.json, templates/<name>@<version>/{lock, files/}
    trash/               directories that are being removed

Locks are taken in this order: session, home, sandbox or template version.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

from ppio_agent_models import ConfigurationError

from .directory import ENDED_FOLDER, TRASH_FOLDER, SandboxDirectory
from .locks import Lock

HOME_VARIABLE = "PPIO_AGENT_HOME"
_SANDBOX_ID = re.compile(r"local-[0-9a-f]{16}-(?P<port>[0-9]{1,5})-[0-9a-f]{8}")


class Paths:
    """The paths in one home, which is created if it does not exist.

    Args:
        root: The folder; None for `PPIO_AGENT_HOME`, else `~/.ppio-agent`.

    Raises:
        ConfigurationError: It cannot be created, or other users can write to it.
    """

    def __init__(self, root: Path | None = None) -> None:
        chosen = root if root is not None else os.environ.get(HOME_VARIABLE) or "~/.ppio-agent"
        self.root: str = os.path.abspath(os.path.expanduser(chosen))
        self.sandboxes: str = os.path.join(self.root, "sandboxes")
        self.ended: str = os.path.join(self.root, ENDED_FOLDER)
        self.trash: str = os.path.join(self.root, TRASH_FOLDER)
        self.templates: str = os.path.join(self.root, "templates")
        self._locks = os.path.join(self.root, "locks")
        self._prepare()

    def lock(self) -> Lock:
        """Return the lock for names and ports in the home. Hold it only briefly."""
        return Lock(os.path.join(self.root, "lock"))

    def session_lock(self, session_id: str) -> Lock:
        """Return the lock for the creation of a session's sandbox.

        There are 4096, shared by sessions whose hashes have the same prefix, so they need no cleanup.
        """
        return Lock(os.path.join(self._locks, _hash(session_id)[:3]))

    def sandbox(self, sandbox_id: str) -> SandboxDirectory:
        """Return the directory of a sandbox."""
        return SandboxDirectory(os.path.join(self.sandboxes, sandbox_id))

    def ended_record(self, sandbox_id: str) -> str:
        """Return the file of a sandbox that ended."""
        return os.path.join(self.ended, sandbox_id + ".json")

    def sandbox_ids(self) -> list[str]:
        """Return the ids of all sandboxes that have a directory."""
        return [name for name in os.listdir(self.sandboxes) if _SANDBOX_ID.fullmatch(name)]

    def sandbox_ids_of(self, session_id: str) -> list[str]:
        """Return the IDs of the sandboxes of one session: one that can be used, and perhaps some that are ending."""
        prefix = _prefix(session_id)
        return [name for name in self.sandbox_ids() if name.startswith(prefix)]

    def ended_records_of(self, session_id: str) -> list[str]:
        """Return the records of one session's sandboxes that ended recently."""
        prefix = _prefix(session_id)
        return [os.path.join(self.ended, name) for name in os.listdir(self.ended) if name.startswith(prefix)]

    def used_ports(self) -> set[int]:
        """Return the ports of all sandboxes, ending ones included."""
        return {int(match["port"]) for name in self.sandbox_ids() if (match := _SANDBOX_ID.fullmatch(name))}

    def _prepare(self) -> None:
        try:
            os.makedirs(self.root, mode=0o700, exist_ok=True)
            self._refuse_strangers(os.stat(self.root))
            for folder in (self.sandboxes, self.ended, self.trash, self.templates, self._locks):
                os.makedirs(folder, mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the home of local sandboxes, {self.root!r}, cannot be used: {error.strerror or error}; "
                f"set {HOME_VARIABLE} to a folder of your own"
            ) from error

    def _refuse_strangers(self, status: os.stat_result) -> None:
        """Refuse a home where another user could place a program that this user then runs."""
        if status.st_uid != os.geteuid():
            raise ConfigurationError(
                f"the home of local sandboxes, {self.root!r}, belongs to the user with id {status.st_uid}, not to you "
                f"({os.geteuid()}); set {HOME_VARIABLE} to a folder of your own"
            )
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigurationError(
                f"the home of local sandboxes, {self.root!r}, can be written by others (mode "
                f"{stat.S_IMODE(status.st_mode):04o}); run `chmod 700` on it or set {HOME_VARIABLE} to another folder"
            )


def new_sandbox_id(session_id: str, port: int) -> str:
    """Return the ID of a new sandbox, which contains a hash of its session and its port."""
    return f"{_prefix(session_id)}{port}-{new_token()}"


def is_sandbox_id(text: str) -> bool:
    """Return whether `text` has the form of a sandbox ID, and so is safe as a file name."""
    return _SANDBOX_ID.fullmatch(text) is not None


def new_token() -> str:
    """Return eight unique characters."""
    return os.urandom(4).hex()


def _prefix(session_id: str) -> str:
    return f"local-{_hash(session_id)[:16]}-"


def _hash(session_id: str) -> str:
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
