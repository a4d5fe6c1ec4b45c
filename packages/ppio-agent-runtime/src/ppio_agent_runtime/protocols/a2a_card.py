"""The agent's card: its name, protocols with their URLs, and authentication."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.types.a2a_pb2 import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    HTTPAuthSecurityScheme,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)

from .._version import __version__

if TYPE_CHECKING:
    from ..config import AgentConfig

_MODES = ["text/plain", "application/json"]


def card_of(config: AgentConfig, address: str, path: str, rest_path: str) -> dict[str, Any]:
    """Return the card as JSON data, with the fields of 1.0 and those of 0.3.

    Args:
        config: The app's settings.
        address: The URL under which callers reach the agent, without a slash at its end.
        path: The path of JSON-RPC.
        rest_path: The path of HTTP+JSON.
    """
    about = config.agent_description or f"The agent {config.agent_name}."
    card = AgentCard(
        name=config.agent_name,
        description=about,
        version=__version__,
        supported_interfaces=[
            AgentInterface(url=f"{address}{where}", protocol_binding=binding, protocol_version=version)
            for version in ("1.0", "0.3")
            for binding, where in (("JSONRPC", path), ("HTTP+JSON", rest_path))
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=False, extended_agent_card=False),
        default_input_modes=_MODES,
        default_output_modes=_MODES,
        skills=[AgentSkill(id=config.agent_name, name=config.agent_name, description=about, tags=["agent"])],
    )
    if config.api_keys:
        bearer = HTTPAuthSecurityScheme(scheme="bearer", description="One of the agent's keys.")
        card.security_schemes["bearer"].CopyFrom(SecurityScheme(http_auth_security_scheme=bearer))
        card.security_requirements.append(SecurityRequirement(schemes={"bearer": StringList()}))
    fields: dict[str, Any] = agent_card_to_dict(card)
    return fields
