"""The provider of sandboxes on this machine; it calls the blocking functions of the package `local` in threads."""

from __future__ import annotations

from pathlib import Path

import ppio_agent_models as models

from ..._io import _async as io
from ..._sandbox import LogPage, Sandbox, SandboxSpec
from ...local.store import LocalStore


class LocalSandboxProvider:
    """Sandboxes that are processes of this machine, for development without an account.

    Each has its own directory, port, environment and time to live, and outlives the program that made it. Every program
    of the same user with the same `home` sees the same sandboxes and templates. They are separate processes, not a
    security boundary: do not run code in them that you do not trust.

    Args:
        home: The folder for all data; `PPIO_AGENT_HOME`, else `~/.ppio-agent`, unless given.
        python: The interpreter that agents run with; `PPIO_AGENT_PYTHON`, else that of this program, unless given.
    """

    def __init__(self, home: str | Path | None = None, *, python: str | None = None) -> None:
        self._store = LocalStore(None if home is None else Path(home), python=python)

    @property
    def home(self) -> Path:
        """The folder for all data."""
        return self._store.folder

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Return the sandbox of `spec.session_id`, or create one and start its agent, without waiting for it.

        If many threads and processes call it at once, they get one sandbox; `created` is True for the one that made it.

        Raises:
            TemplateNotFoundError: No such template.
            ConfigurationError: Its manifest is wrong, or the timeout is not a positive number.
            SandboxCreationError: It could not be made, or the session's sandbox was made from another template.
        """
        return await io.run_blocking(self._store.create, spec)

    async def find(self, session_id: str) -> Sandbox | None:
        """Return the sandbox of a session, running or paused, and change nothing about it."""
        return await io.run_blocking(self._store.find, session_id)

    async def get(self, sandbox_id: str) -> Sandbox | None:
        """Return the current state of a sandbox, or for ten minutes how it ended; None if it is no longer known."""
        return await io.run_blocking(self._store.get, sandbox_id)

    async def list_sandboxes(self) -> list[Sandbox]:
        """Return every sandbox, whichever process made it, oldest first."""
        return await io.run_blocking(self._store.list_sandboxes)

    async def extend(self, sandbox_id: str, timeout_seconds: float) -> Sandbox:
        """Set the time to live of the sandbox to `timeout_seconds` from now; of a paused one, from when it is resumed.

        Raises:
            SandboxGoneError: It has ended.
            ConfigurationError: The timeout is not a positive number.
        """
        return await io.run_blocking(self._store.extend, sandbox_id, timeout_seconds)

    async def pause(self, sandbox_id: str) -> Sandbox:
        """Stop the sandbox's processes (SIGSTOP) and keep the rest of its time to live for later.

        It ends if it isn't resumed within 24 hours. Does nothing to a paused sandbox.

        Raises:
            SandboxGoneError: It has ended.
        """
        return await io.run_blocking(self._store.pause, sandbox_id)

    async def resume(self, sandbox_id: str) -> Sandbox:
        """Continue the sandbox's processes and its time to live; does nothing to a running sandbox.

        Raises:
            SandboxGoneError: It has ended.
        """
        return await io.run_blocking(self._store.resume, sandbox_id)

    async def kill(self, sandbox_id: str) -> bool:
        """End every process of the sandbox at once (SIGKILL), and return when they are gone.

        Returns:
            True if this call ended it; False if it had already ended, or doesn't exist.
        """
        return await io.run_blocking(self._store.kill, sandbox_id)

    async def logs(self, session_id: str, cursor: str | None = None) -> LogPage | None:
        """Return the log of the session's agent since `cursor`, or from the start; None if the session isn't known.

        The last lines of an agent that has ended are kept for ten minutes.
        """
        return await io.run_blocking(self._store.logs, session_id, cursor)

    async def list_templates(self) -> list[models.AgentTemplate]:
        """Return all templates that were deployed here, by name. Folders can be used without deploying them."""
        return await io.run_blocking(self._store.templates.all)

    async def get_template(self, template_id: str) -> models.AgentTemplate:
        """Return one template: by the name it was deployed under, or by the path of an agent's folder.

        Raises:
            TemplateNotFoundError: There is no such template, or no agent in the folder.
            ConfigurationError: The folder's manifest is wrong.
        """
        return await io.run_blocking(self._store.templates.get, template_id)

    async def deploy(
        self, folder: str | Path, name: str | None = None, *, python: str | None = None
    ) -> models.AgentTemplate:
        """Copy an agent's folder here as a template; it replaces an older one of the same name.

        Sandboxes that were made from the older one don't change.

        Args:
            folder: The folder with `.ppio-agent.yaml`.
            name: The template's ID; the name in the manifest unless given.
            python: The interpreter that its agents run with, such as one of a virtual environment; that of the provider
                wins over it.

        Raises:
            ConfigurationError: The folder has no agent, its name isn't valid, or it can't be copied.
        """
        return await io.run_blocking(self._store.templates.deploy, Path(folder), name, python)

    async def delete_template(self, name: str) -> bool:
        """Delete a template; sandboxes that were made from it keep running. False if there was none."""
        return await io.run_blocking(self._store.templates.delete, name)

    async def close(self) -> None:
        """Do nothing: the provider holds nothing open. Sandboxes keep running."""
