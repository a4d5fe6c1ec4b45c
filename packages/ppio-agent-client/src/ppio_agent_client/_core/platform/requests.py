"""What the control plane of the PPIO platform is asked, in both of its dialects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode

from ppio_agent_models import ConfigurationError

from ..._rules import json_codec
from ..._sandbox import SandboxSpec
from .models import PAGE_SIZE

MAX_LIFE_SECONDS: Final = 24 * 3600
"""The longest life that can be asked for; most accounts may have less (the platform says so)."""


@dataclass(frozen=True, slots=True)
class PlatformRequest:
    """One request to the control plane.

    Attributes:
        action: What it does, in words for errors: "cannot <action>".
        method: Of HTTP.
        path: With its query.
        body: JSON, or nothing.
        is_idempotent: Whether twice is as good as once.
        bearer: Whether it wants the key as bearer token, as the list of templates does.
        max_seconds: How long it may take in all, where that is less than `platform_timeout`.
    """

    action: str
    method: str
    path: str
    body: bytes = field(default=b"", repr=False)
    is_idempotent: bool = True
    bearer: bool = False
    max_seconds: float = math.inf


def about_sandbox(
    sandbox_id: str,
    action: str,
    method: str,
    ending: str = "",
    body: Mapping[str, object] | None = None,
    *,
    version: str = "",
    max_seconds: float = math.inf,
) -> PlatformRequest:
    """Return a request about one sandbox, whose id can't leave its place in the path."""
    return PlatformRequest(
        f"{action} sandbox {sandbox_id!r}",
        method,
        f"{version}/sandboxes/{quote(sandbox_id, safe='')}{ending}",
        b"" if body is None else json_codec.dump(body),
        max_seconds=max_seconds,
    )


def create_request(
    spec: SandboxSpec, template_id: str, labels: Mapping[str, str], *, is_legacy: bool
) -> PlatformRequest:
    """Return the request that creates a sandbox.

    Raises:
        ConfigurationError: The platform cannot create it like that.
    """
    body: dict[str, object] = {
        "templateID": template_id,
        "timeout": whole_seconds(spec.timeout_seconds),
        "metadata": dict(labels),
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
    return PlatformRequest("create a sandbox", "POST", "/sandboxes", json_codec.dump(body), is_idempotent=False)


def list_request(labels: Mapping[str, str], page_token: str | None, max_seconds: float = math.inf) -> PlatformRequest:
    """Return the request that lists living sandboxes with these strings in their metadata, a page at a time."""
    # Quoted three times on the wire: by us, as a form of its own, and as one value of the query.
    wanted = urlencode({quote(name): quote(value) for name, value in labels.items()})
    query = {"metadata": wanted, "state": "running,paused", "limit": str(PAGE_SIZE)}
    if page_token:
        query["nextToken"] = page_token
    path = f"/v2/sandboxes?{urlencode(query)}"
    return PlatformRequest("list sandboxes", "GET", path, max_seconds=max_seconds)


def whole_seconds(seconds: float) -> int:
    """Return a life as the platform wants it.

    Raises:
        ConfigurationError: It isn't one.
    """
    if not 0 < seconds <= MAX_LIFE_SECONDS:
        raise ConfigurationError(
            f"the life of a sandbox is more than 0 and at most {MAX_LIFE_SECONDS} seconds, not {seconds!r}"
        )
    return math.ceil(seconds)
