"""The URLs of the PPIO platform: the control plane, and the envd and agent of each sandbox."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ppio_agent_models import ConfigurationError

from ..._headers import without_space
from ..requests import checked_url, is_loopback

if TYPE_CHECKING:
    from ..._config import ClientConfig

DEFAULT_DOMAIN: Final = "sandbox.ppio.cn"
"""The default of the official SDK."""
ENVD_PORT: Final = 49983
"""The port of envd, which starts processes in a sandbox."""
DOMAIN_PATTERN: Final = r"^[A-Za-z0-9._-]+(:[0-9]{1,5})?$"
"""A host name, with or without a port."""

SANDBOX_ID_HEADER: Final = "PPIO-Sandbox-Id"
SANDBOX_PORT_HEADER: Final = "PPIO-Sandbox-Port"
TRAFFIC_TOKEN_HEADER: Final = "E2B-Traffic-Access-Token"  # noqa: S105  # the name of a header
ENVD_TOKEN_HEADER: Final = "X-Access-Token"  # noqa: S105  # the name of a header

_LEGACY_DOMAINS = frozenset({"sandbox.ppio.cn", "sandbox-test.ppio.cn"})


@dataclass(frozen=True, slots=True)
class PlatformUrls:
    """The URLs of one installation of the platform.

    Attributes:
        api: The control plane, without a trailing slash.
        domain: The domain of sandboxes, unless the platform returns another one for a sandbox.
        sandbox_url: One URL for all sandboxes, of a gateway that selects one by headers; None if each has its own.
    """

    api: str
    domain: str
    sandbox_url: str | None = None

    @property
    def is_legacy(self) -> bool:
        """Whether the platform has the older API: other request bodies, no network rules."""
        return self.domain.lower() in _LEGACY_DOMAINS

    def of_port(self, sandbox_id: str, port: int, domain: str | None) -> tuple[str, dict[str, str]]:
        """Return the URL of a sandbox's port, and the headers for a gateway.

        `AGENT_PORT` is that of its agent, `ENVD_PORT` that of its envd; `domain` is its own one, if it has any.
        """
        if self.sandbox_url is not None:
            return self.sandbox_url, {SANDBOX_ID_HEADER: sandbox_id, SANDBOX_PORT_HEADER: str(port)}
        return _url(f"{port}-{sandbox_id}.{domain or self.domain}"), {}


def platform_urls(config: ClientConfig) -> PlatformUrls:
    """Return the URLs in the settings.

    Raises:
        ConfigurationError: One of them isn't valid.
    """
    domain = without_space(config.domain or DEFAULT_DOMAIN, "domain")
    if re.fullmatch(DOMAIN_PATTERN, domain) is None:
        raise ConfigurationError(
            f"domain must be a host name such as {DEFAULT_DOMAIN!r}, optionally with a port, not {domain!r}"
        )
    return PlatformUrls(
        api=checked_url(config.base_url or _url(f"api.{domain}"), "base_url"),
        domain=domain,
        sandbox_url=None if config.sandbox_url is None else checked_url(config.sandbox_url, "sandbox_url"),
    )


def _url(host: str) -> str:
    """Return an https URL, or an http URL for names of this machine, as an emulator has no certificate."""
    scheme = "http" if is_loopback(host.partition(":")[0]) else "https"
    return f"{scheme}://{host}"
