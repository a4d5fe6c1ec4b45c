"""Where a command works: on the platform, on this machine, or wherever `PPIO_AGENT_PROVIDER` says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import MANIFEST_FILE, TemplateNotFoundError

from .errors import EXIT_ACCESS, CommandError, UsageError
from .messages import tr
from .project import read_manifest

if TYPE_CHECKING:
    from ppio_agent_client import SyncAgentRuntimeClient

PROGRAM: Final = "ppio-agent"
LOCAL: Final = "local"
_PLATFORM: Final = "platform"
_PROVIDER_VARIABLE: Final = "PPIO_AGENT_PROVIDER"
_KEY_VARIABLE: Final = "PPIO_API_KEY"
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/?#]*@")
MASK: Final = "***"
"""Stands for what is not shown."""


def without_credentials(address: str) -> str:
    """Return an address as it may be shown."""
    return _CREDENTIALS.sub(f"{MASK}@", address)


def is_local(wanted: bool) -> bool:
    """Return whether sandboxes on this machine are meant."""
    return wanted or os.environ.get(_PROVIDER_VARIABLE) == LOCAL


def check_templates_are_ours(local: bool) -> None:
    """Do nothing if templates are made and deleted here or on the platform.

    Raises:
        UsageError: `PPIO_AGENT_PROVIDER` names somebody else's place.
    """
    name = os.environ.get(_PROVIDER_VARIABLE) or _PLATFORM
    if not local and name not in (LOCAL, _PLATFORM):
        raise UsageError(
            tr(
                "Templates of the provider {name!r}, from {variable}, cannot be created or deleted here.",
                name=name,
                variable=_PROVIDER_VARIABLE,
            ),
            hint=tr("Add --local, or unset the variable to use the platform."),
        )


def check_key() -> None:
    """Do nothing if there is a key of the platform.

    Raises:
        CommandError: There is none.
    """
    if not os.environ.get(_KEY_VARIABLE):
        raise CommandError(
            tr("There is no API key for the platform: {variable} is not set.", variable=_KEY_VARIABLE),
            code=EXIT_ACCESS,
            hint=tr(
                "Create a key at {url}. Without an account, add --local.",
                url="https://ppio.com/settings/key-management",
            ),
        )


@contextmanager
def client_of(local: bool, **settings: Any) -> Iterator[SyncAgentRuntimeClient]:
    """Give a client of the place that is meant, and close it afterwards.

    Args:
        local: Whether `--local` was given.
        settings: Fields of `ClientConfig`.
    """
    from ppio_agent_client import ClientConfig, SyncAgentRuntimeClient

    here = is_local(local)
    if not here and os.environ.get(_PROVIDER_VARIABLE, "") in ("", _PLATFORM):
        check_key()
    with SyncAgentRuntimeClient(provider=LOCAL if here else None, config=ClientConfig(**settings)) as client:
        try:
            yield client
        except TemplateNotFoundError as error:
            error.add_note(tr("List the templates: {command}", command=command("list", local=local)))
            raise


def template_here(local: bool) -> str:
    """Return the template of the agent in this folder, for a command that names none.

    Raises:
        UsageError: There is no agent in this folder, or it was not deployed to the platform.
    """
    manifest_file = Path(MANIFEST_FILE)
    if not manifest_file.is_file():
        raise UsageError(
            tr(
                "Which agent? --template-id is missing, and there is no {manifest} in this folder.",
                manifest=MANIFEST_FILE,
            ),
            hint=tr("List the templates: {command}", command=command("list", local=local)),
        )
    manifest = read_manifest(manifest_file)
    if is_local(local):
        return "."
    deployed = (manifest.status or {}).get("template_id")
    if not deployed:
        raise UsageError(
            tr("The agent {name!r} of this folder is not deployed to the platform.", name=manifest.metadata.name),
            hint=tr("Deploy it: {command}", command=f"{PROGRAM} deploy"),
        )
    return str(deployed)


def command(verb: str, *words: str, local: bool) -> str:
    """Return a command to type, for hints; with `--local` where it was given."""
    return " ".join([PROGRAM, verb, *(["--local"] if local else []), *words])
