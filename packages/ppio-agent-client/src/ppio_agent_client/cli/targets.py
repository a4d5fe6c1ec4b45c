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
            f"Templates of the provider {name!r}, which {_PROVIDER_VARIABLE} names, are not made or deleted here.",
            hint="Add --local, or unset the variable for the platform.",
        )


def check_key() -> None:
    """Do nothing if there is a key of the platform.

    Raises:
        CommandError: There is none.
    """
    if not os.environ.get(_KEY_VARIABLE):
        raise CommandError(
            f"There is no key of the platform: {_KEY_VARIABLE} is not set.",
            code=EXIT_ACCESS,
            hint="Keys are made at https://ppio.com/settings/key-management. Without an account, add --local.",
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
            error.add_note(f"See what there is: {command('list', local=local)}")
            raise


def template_here(local: bool) -> str:
    """Return the template of the agent in this folder, for who names none.

    Raises:
        UsageError: There is no agent in this folder, or it was not deployed to the platform.
    """
    manifest_file = Path(MANIFEST_FILE)
    if not manifest_file.is_file():
        raise UsageError(
            f"Which agent? There is no --template-id, and no {MANIFEST_FILE} in this folder.",
            hint=f"See what there is: {command('list', local=local)}",
        )
    manifest = read_manifest(manifest_file)
    if is_local(local):
        return "."
    deployed = (manifest.status or {}).get("template_id")
    if not deployed:
        raise UsageError(
            f"The agent {manifest.metadata.name!r} of this folder was not deployed to the platform.",
            hint="Deploy it: ppio-agent deploy",
        )
    return str(deployed)


def command(verb: str, *words: str, local: bool) -> str:
    """Return a command to type, for hints; with `--local` where it was given."""
    return " ".join([PROGRAM, verb, *(["--local"] if local else []), *words])
