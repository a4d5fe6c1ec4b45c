"""The folder for all local data: who may use it, and where things are in it.

    lock, next-port      the lock of the whole home, and the port to try next
    locks/               one lock per session, by a part of its hash
    sandboxes/<id>/      record.json, lock, wakeup, agent.log, supervisor.log, app/
    ended/<id>.json      the records of sandboxes that ended a short while ago
    templates/<name>.json, templates/<name>@<version>/{lock, files/}
    trash/               what is being removed

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
    """Where things are in one home, which is made when it does not exist.

    Args:
        root: The folder; None for `PPIO_AGENT_HOME`, else `~/.ppio-agent`.

    Raises:
        ConfigurationError: It cannot be made, or others than this user could write into it.
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
        """Return the lock under which things in the home get their names and ports. Hold it for moments only."""
        return Lock(os.path.join(self.root, "lock"))

    def session_lock(self, session_id: str) -> Lock:
        """Return the lock under which a session gets its sandbox.

        There are 4096, shared by the sessions whose hash begins alike, so that they need not be cleaned up.
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
        """Return the ids of the sandboxes of one session: a living one and perhaps some that are ending."""
        prefix = _prefix(session_id)
        return [name for name in self.sandbox_ids() if name.startswith(prefix)]

    def ended_records_of(self, session_id: str) -> list[str]:
        """Return the files of the sandboxes of one session that ended a short while ago."""
        prefix = _prefix(session_id)
        return [os.path.join(self.ended, name) for name in os.listdir(self.ended) if name.startswith(prefix)]

    def used_ports(self) -> set[int]:
        """Return the ports that sandboxes have, ending ones included."""
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
        """Refuse a home into which somebody else could put a program that this user then runs."""
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
    """Return a name for a new sandbox: whose it is and which port it holds can be read from it."""
    return f"{_prefix(session_id)}{port}-{new_token()}"


def is_sandbox_id(text: str) -> bool:
    """Return whether `text` has the form of an id that is given here, and so may be used as a file's name."""
    return _SANDBOX_ID.fullmatch(text) is not None


def new_token() -> str:
    """Return eight characters that nobody else has."""
    return os.urandom(4).hex()


def _prefix(session_id: str) -> str:
    return f"local-{_hash(session_id)[:16]}-"


def _hash(session_id: str) -> str:
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
