"""The platform's own SDK on a sandbox of ours: files, commands, terminals. It is an extra, imported when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ppio_agent_models import ConfigurationError

from ..._rules.platform_addresses import ENVD_TOKEN_HEADER, Addresses
from ..._rules.platform_answers import MadeSandbox

if TYPE_CHECKING:
    from ppio_sandbox.core import AsyncSandbox as OfficialSandbox

INSTALL_LINE: Final = "pip install 'ppio-agent-client[sandbox]'"

_OLDEST_ENVD: Final = "0.1.0"
"""What every envd since understands."""


def official_sandbox(made: MadeSandbox, addresses: Addresses, api_key: str | None) -> OfficialSandbox:
    """Return the official SDK's handle of a sandbox. Nothing is sent.

    Args:
        made: What the platform said of it.
        addresses: Of this installation of the platform.
        api_key: What the SDK shows the platform, and nobody else; `PPIO_API_KEY` unless given.

    Raises:
        ConfigurationError: The SDK is not installed.
    """
    try:
        from packaging.version import Version
        from ppio_sandbox.core import AsyncSandbox
        from ppio_sandbox.core.connection_config import ConnectionConfig
    except ImportError as error:
        raise ConfigurationError(f"session.sandbox needs the platform's own SDK: {INSTALL_LINE}") from error
    url, headers = addresses.of_envd(made.sandbox_id, made.domain)
    if made.envd_token is not None:
        headers[ENVD_TOKEN_HEADER] = made.envd_token
    config = ConnectionConfig(
        domain=addresses.domain,
        api_key=api_key,
        api_url=addresses.api,
        sandbox_url=url,
        extra_sandbox_headers=headers,
    )
    return AsyncSandbox(
        sandbox_id=made.sandbox_id,
        sandbox_domain=made.domain,
        envd_version=Version(made.envd_version or _OLDEST_ENVD),
        envd_access_token=made.envd_token,
        traffic_access_token=made.traffic_token,
        connection_config=config,
    )
