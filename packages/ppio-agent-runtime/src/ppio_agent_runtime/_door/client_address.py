"""The address that a request comes from: the peer's, or the one that a trusted proxy forwards."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from ppio_agent_models import ConfigurationError

if TYPE_CHECKING:
    from .._engine.context import RequestContext

Address = IPv4Address | IPv6Address

_NO_ADDRESS = "local"
"""What a peer without an address counts as: a unix socket, or a call from inside."""


class ClientAddress:
    """Finds the address that a request comes from.

    Args:
        forwarded_allow_ips: Addresses and networks of proxies whose `X-Forwarded-For` is believed; `*` for any.

    Raises:
        ConfigurationError: An entry is neither an address nor a network.
    """

    def __init__(self, forwarded_allow_ips: Iterable[str]) -> None:
        entries = list(forwarded_allow_ips)
        self._believes_all = "*" in entries
        self._networks = [_network(entry) for entry in entries if entry != "*"]
        self._is_trusted = lru_cache(1024)(self._looks_trusted)

    def of(self, context: RequestContext) -> str:
        """Return the address of the client.

        A trusted peer names the one before it, at the end of `X-Forwarded-For`; if that is trusted too, the one before
        that. What stands further left was written by somebody nobody here knows.
        """
        address = _NO_ADDRESS if context.client is None else context.client[0]
        if not (self._believes_all or self._networks):
            return address
        hops = ",".join(context.header_values(b"x-forwarded-for")).split(",")
        while hops and self._is_trusted(address):
            forwarded = _address(hops.pop())
            if forwarded is None:
                break  # not an address: the last one that is known counts
            address = str(forwarded)
        return address

    def _looks_trusted(self, address: str) -> bool:
        if self._believes_all:
            return True
        parsed = _address(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        raise ConfigurationError(
            f"forwarded_allow_ips takes addresses and networks such as 10.0.0.0/8, or '*', not {entry!r}."
        ) from None


def _address(text: str) -> Address | None:
    """Return the address in one entry of the header, which may come with a port."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
