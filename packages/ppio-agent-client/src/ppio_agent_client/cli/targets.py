"""Where a command works: on the platform, on this machine, or at the provider in `PPIO_AGENT_PROVIDER`."""

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
"""Replaces what is not shown."""


def without_credentials(address: str) -> str:
    """Return an address without user and password, to be shown."""
    return _CREDENTIALS.sub(f"{MASK}@", address)


def is_local(wanted: bool) -> bool:
    """Return whether to use sandboxes on this machine."""
    return wanted or os.environ.get(_PROVIDER_VARIABLE) == LOCAL


def check_templates_are_ours(local: bool) -> None:
    """Check that templates are on this machine or on the platform, where we can create and delete them.

    Raises:
        UsageError: `PPIO_AGENT_PROVIDER` names a third-party provider.
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
    """Check that there is an API key for the platform.

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
    """Yield a client for the platform or for this machine, and close it afterwards.

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
    """Return the template of the agent in this folder, for a command without `--template-id`.

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
    """Return a command for hints; with `--local` if it was given."""
    return " ".join([PROGRAM, verb, *(["--local"] if local else []), *words])
