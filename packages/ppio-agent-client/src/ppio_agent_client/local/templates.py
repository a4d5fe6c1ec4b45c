"""Templates: folders by their path, and deployed copies of folders by their name.

A name (`<name>.json`) points to a version (`<name>@<token>/files/`). A redeploy writes another version and changes the
pointer; a version that no name points to, and whose lock is not held, is removed.
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppio_agent_models import MANIFEST_FILE, ConfigurationError, TemplateNotFoundError

from .agent_folder import NAME_RULE, AgentFolder, copy_folder, is_name, logger, read_agent_folder
from .directory import LOCK_FILE, discard, read_json, remove, write_json
from .locks import Lock
from .paths import Paths, new_token

if TYPE_CHECKING:
    from ppio_agent_models import AgentTemplate

_FILES = "files"


def canonical_id(template_id: str) -> str:
    """Return the canonical form of a template ID: a folder's absolute path without links, or the name unchanged."""
    if not _is_path(template_id):
        return template_id
    return os.path.realpath(os.path.expanduser(template_id))


class TemplateStore:
    """The templates of one home."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    @contextmanager
    def opened(self, template_id: str) -> Iterator[AgentFolder]:
        """Yield the folder of a template; it is not removed before the block ends.

        Raises:
            TemplateNotFoundError: No such folder or name, or no agent in the folder.
            ConfigurationError: The manifest is wrong.
        """
        if _is_path(template_id):
            source = read_agent_folder(canonical_id(template_id), TemplateNotFoundError)
            source.warn()
            yield source
            return
        while True:
            version = self._pointer(template_id)["files"]
            hold = Lock(os.path.join(self._paths.templates, version, LOCK_FILE), shared=True)
            try:
                hold.acquire()
            except FileNotFoundError:
                continue  # Replaced between the two lines above.
            try:
                facts = self._pointer(template_id)
                if facts["files"] == version:
                    files = os.path.join(self._paths.templates, version, _FILES)
                    source = read_agent_folder(files, TemplateNotFoundError)
                    yield replace(source, python=facts["metadata"].get("python"))
                    return
            finally:
                hold.release()

    def get(self, template_id: str) -> AgentTemplate:
        """Return one template.

        Raises:
            TemplateNotFoundError: See `opened`.
            ConfigurationError: See `opened`.
        """
        if not _is_path(template_id):
            return _as_template(template_id, self._pointer(template_id))
        folder = canonical_id(template_id)
        source = read_agent_folder(folder, TemplateNotFoundError)
        name = source.name or os.path.basename(folder) or folder
        return _as_template(folder, _facts(source, name=name, folder=folder))

    def all(self) -> list[AgentTemplate]:
        """Return the deployed templates, by name. Folders can be used without deploying them."""
        return [_as_template(name, facts) for name in self._names() if (facts := self._stored(name)) is not None]

    def _stored(self, name: str) -> dict[str, Any] | None:
        """Return the template with a name; log a warning if it is damaged or of another version."""
        facts = read_json(self._pointer_file(name))
        if facts is None and not os.path.exists(self._pointer_file(name)):
            return None
        try:
            _as_template(name, dict(facts))
            return {**facts, "files": str(facts["files"]), "metadata": dict(facts["metadata"])}
        except (KeyError, TypeError, ValueError, OverflowError, OSError):  # ValueError: pydantic's is one
            logger.warning(
                "ignoring the local template in %s: it is damaged, or was written by another version; deploy it again "
                "with `ppio-agent deploy --local`",
                self._pointer_file(name),
            )
            return None

    def deploy(self, folder: str | Path, name: str | None = None, python: str | None = None) -> AgentTemplate:
        """Copy a folder, and make a name, that of its manifest unless given, point to the copy.

        Its agents run with `python`, if that is given.

        Raises:
            ConfigurationError: There is no agent in the folder, or no name to give it, or the copy failed.
        """
        path = os.path.realpath(os.path.expanduser(folder))
        source = read_agent_folder(path)
        source.warn()
        name = name if name is not None else source.name
        if name is None:
            raise ConfigurationError(
                f"the agent in {path!r} has no name to deploy it under: pass one, or write it into {MANIFEST_FILE} "
                "as metadata.name"
            )
        if not is_name(name):
            raise ConfigurationError(f"{name!r} cannot be the name of a template: it must have {NAME_RULE}")
        version = f"{name}@{new_token()}"
        with self._new_version(version) as files:
            try:
                copy_folder(path, files, without=self._paths.root)
            except OSError as error:
                raise ConfigurationError(f"{path!r} could not be copied to deploy it: {error}") from error
            facts = _facts(replace(source, name=name), name=name, folder=path)
            if python is not None:
                facts["metadata"]["python"] = python
            before = self._stored(name)
            if before is not None:
                facts["created_at"] = before["created_at"]
            with self._paths.lock():
                write_json(self._pointer_file(name), {**facts, "files": version})
        self.sweep()
        return _as_template(name, facts)

    def delete(self, name: str) -> bool:
        """Delete a template; False if there is none with this name. Its sandboxes keep running."""
        if not is_name(name):
            return False
        try:
            os.unlink(self._pointer_file(name))
        except FileNotFoundError:
            return False
        self.sweep()
        return True

    def sweep(self) -> None:
        """Remove versions that no name points to: replaced, deleted, or never completed."""
        rubbish = []
        with self._paths.lock():
            known = {name: self._stored(name) for name in self._names()}
            pointed = {facts["files"] for facts in known.values() if facts is not None}
            for version in os.listdir(self._paths.templates):
                directory = os.path.join(self._paths.templates, version)
                name, at, _ = version.partition("@")
                if not at or version in pointed or known.get(name, {}) is None:
                    continue  # Of a name that cannot be read nothing is known, so everything stays.
                hold = Lock(os.path.join(directory, LOCK_FILE))
                if hold.acquire(wait=False):  # Else it is being made, or being read.
                    rubbish.append(discard(directory))
                    hold.release()
        for path in rubbish:
            remove(path)

    @contextmanager
    def _new_version(self, version: str) -> Iterator[str]:
        """Yield the path for a new version's files, protected from `sweep` until the block ends."""
        directory = os.path.join(self._paths.templates, version)
        hold = Lock(os.path.join(directory, LOCK_FILE))
        with self._paths.lock():  # No sweep can run between the two.
            os.mkdir(directory, 0o700)
            hold.acquire()
        try:
            yield os.path.join(directory, _FILES)
        finally:
            hold.release()

    def _pointer(self, name: str) -> dict[str, Any]:
        facts = self._stored(name) if is_name(name) else None
        if facts is None:
            near = difflib.get_close_matches(name, self._names(), n=3)
            hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
            raise TemplateNotFoundError(
                f"no template {name!r} was deployed on this machine; {hint}`ppio-agent deploy --local` or "
                "LocalSandboxProvider().deploy(folder) deploys one, and a folder can be used without by its path, "
                f"such as './{name}'"
            )
        return facts

    def _pointer_file(self, name: str) -> str:
        return os.path.join(self._paths.templates, name + ".json")

    def _names(self) -> list[str]:
        files = os.listdir(self._paths.templates)
        return sorted(stem for file in files if file.endswith(".json") and is_name(stem := file.removesuffix(".json")))


def _is_path(template_id: str) -> bool:
    return "/" in template_id or template_id.startswith((".", "~"))


def _facts(source: AgentFolder, *, name: str, folder: str) -> dict[str, Any]:
    now = time.time()
    metadata = {"folder": folder, "entrypoint": source.entrypoint}
    return {**source.about, "name": name, "created_at": now, "updated_at": now, "metadata": metadata}


def _as_template(template_id: str, facts: dict[str, Any]) -> AgentTemplate:
    from ppio_agent_models import AgentTemplate  # Imports pydantic, which `create` doesn't need.

    known = {key: value for key, value in facts.items() if key != "files"}
    for key in ("created_at", "updated_at"):
        known[key] = datetime.fromtimestamp(known[key], UTC)
    return AgentTemplate(template_id=template_id, **known)
