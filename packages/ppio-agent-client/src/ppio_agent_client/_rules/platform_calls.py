"""What the control plane of the PPIO platform is asked, as plain data, in both of its dialects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode

from ppio_agent_models import ConfigurationError

from .._sandbox import SandboxSpec
from . import json_codec

PAGE_SIZE: Final = 100
"""Sandboxes or templates that one answer lists; the platform gives no more."""
LOG_LINES: Final = 1000
"""Lines of a log that one answer has."""
MAX_LIFE_SECONDS: Final = 24 * 3600
"""The longest life that can be asked for; most accounts may have less (the platform says so)."""


@dataclass(frozen=True, slots=True)
class PlatformCall:
    """One request to the control plane.

    Attributes:
        what: What it does, in words for errors: "cannot <what>".
        method: Of HTTP.
        path: With its query.
        body: JSON, or nothing.
        is_repeatable: Whether twice is as good as once.
        bearer: Whether it wants the key as bearer token, as the list of templates does.
        max_seconds: How long it may take in all, where that is less than `platform_timeout`.
    """

    what: str
    method: str
    path: str
    body: bytes = field(default=b"", repr=False)
    is_repeatable: bool = True
    bearer: bool = False
    max_seconds: float = math.inf


def create(spec: SandboxSpec, template_id: str, metadata: Mapping[str, str], *, is_legacy: bool) -> PlatformCall:
    """Return the call that makes a sandbox.

    Raises:
        ConfigurationError: The platform cannot make it like that.
    """
    body: dict[str, object] = {
        "templateID": template_id,
        "timeout": whole_seconds(spec.timeout_seconds),
        "metadata": dict(metadata),
        "envVars": dict(spec.env_vars),
        "secure": True,
        "autoPause": spec.auto_pause or spec.auto_resume,
    }
    if is_legacy:
        if spec.private_traffic:
            raise ConfigurationError(
                "private_traffic needs a newer domain of the platform than this one; set PPIO_DOMAIN or domain="
            )
        body["allowInternetAccess"] = spec.internet_access
    else:
        body["allow_internet_access"] = spec.internet_access  # the one name here that is not in camel case
        body["autoResume"] = {"enabled": spec.auto_resume}
        if spec.private_traffic:
            body["network"] = {"allowPublicTraffic": False}
    return PlatformCall("create a sandbox", "POST", "/sandboxes", json_codec.dump(body), is_repeatable=False)


def connect(sandbox_id: str, timeout_seconds: float, *, is_legacy: bool) -> PlatformCall:
    """Return the call that wakes a paused sandbox; the life of a running one only grows by it, and never shrinks."""
    body: dict[str, object] = {"timeout": whole_seconds(timeout_seconds)}
    if is_legacy:
        body["autoPause"] = False
    return _about(sandbox_id, "connect to", "POST", "/connect", body)


def info(sandbox_id: str) -> PlatformCall:
    """Return the call that tells how one sandbox is."""
    return _about(sandbox_id, "look at", "GET")


def kill(sandbox_id: str) -> PlatformCall:
    """Return the call that ends a sandbox."""
    return _about(sandbox_id, "end", "DELETE")


def set_timeout(sandbox_id: str, timeout_seconds: float) -> PlatformCall:
    """Return the call that lets a sandbox live for so many seconds from now, more or fewer than before."""
    body = {"timeout": whole_seconds(timeout_seconds)}
    return _about(sandbox_id, "set the life of", "POST", "/timeout", body)


def pause(sandbox_id: str, *, is_legacy: bool) -> PlatformCall:
    """Return the call that puts a sandbox to sleep, and returns when it sleeps."""
    return _about(sandbox_id, "pause", "POST", "/pause", {"sync": True} if is_legacy else None)


def listing(metadata: Mapping[str, str], page_token: str | None = None) -> PlatformCall:
    """Return the call that lists living sandboxes with these strings in their metadata, a page at a time."""
    # Quoted three times on the wire: by us, as a form of its own, and as one value of the query.
    wanted = urlencode({quote(name): quote(value) for name, value in metadata.items()})
    query = {"metadata": wanted, "state": "running,paused", "limit": str(PAGE_SIZE)}
    if page_token:
        query["nextToken"] = page_token
    return PlatformCall("list sandboxes", "GET", f"/v2/sandboxes?{urlencode(query)}")


def logs(sandbox_id: str, since_ms: int) -> PlatformCall:
    """Return the call that shows what the processes of a sandbox have written since a moment, oldest first."""
    query = urlencode({"cursor": since_ms, "limit": LOG_LINES, "direction": "forward"})
    return PlatformCall(
        f"read the log of sandbox {sandbox_id!r}", "GET", f"/v2/sandboxes/{quote(sandbox_id, safe='')}/logs?{query}"
    )


def older_logs(sandbox_id: str, since_ms: int) -> PlatformCall:
    """Return the same call as the first version of the API has it."""
    query = urlencode({"start": since_ms, "limit": LOG_LINES})
    return _about(sandbox_id, "read the log of", "GET", f"/logs?{query}")


def templates_with_metadata() -> PlatformCall:
    """Return the call that lists every template with its metadata."""
    return PlatformCall("list templates", "GET", "/templates?metadata=true", bearer=True)


def templates_page(page: int) -> PlatformCall:
    """Return the call that lists one page of templates, from 1."""
    query = urlencode({"template_type": "template_build", "page": page, "limit": PAGE_SIZE})
    return PlatformCall("list templates", "GET", f"/v2/templates?{query}")


def delete_template(template_id: str) -> PlatformCall:
    """Return the call that deletes a template."""
    return PlatformCall(f"delete template {template_id!r}", "DELETE", f"/templates/{quote(template_id, safe='')}")


def whole_seconds(seconds: float) -> int:
    """Return a life as the platform wants it.

    Raises:
        ConfigurationError: It is no life.
    """
    if not 0 < seconds <= MAX_LIFE_SECONDS:
        raise ConfigurationError(
            f"the life of a sandbox is more than 0 and at most {MAX_LIFE_SECONDS} seconds, not {seconds!r}"
        )
    return math.ceil(seconds)


def _about(
    sandbox_id: str, verb: str, method: str, ending: str = "", body: Mapping[str, object] | None = None
) -> PlatformCall:
    path = f"/sandboxes/{quote(sandbox_id, safe='')}{ending}"
    return PlatformCall(f"{verb} sandbox {sandbox_id!r}", method, path, b"" if body is None else json_codec.dump(body))
