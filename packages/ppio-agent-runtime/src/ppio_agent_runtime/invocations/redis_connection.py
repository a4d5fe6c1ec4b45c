"""Connections to Redis or Valkey, with the extra `[redis]`: one server, Sentinel or a cluster, over TCP or TLS."""

from __future__ import annotations

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from ppio_agent_models import ConfigurationError

SCHEMES: Final = ("redis", "rediss", "redis+sentinel", "redis+cluster", "rediss+sentinel", "rediss+cluster")
COMMAND_SECONDS: Final = 2.0
"""How long Redis may take to connect, and to respond to one command."""
_DEFAULT_PREFIX: Final = "ppio-agent"
_PREFIX: Final = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_PORTS: Final = {"sentinel": 26379, "cluster": 6379}
_SCRIPTS: Final = Path(__file__).parent / "redis_scripts"


class Address(NamedTuple):
    """The address of a store.

    Attributes:
        url: The URL for redis-py, without the prefix.
        prefix: The prefix of all keys.
        place: The URL without credentials and options, for logs.
    """

    url: str
    prefix: str
    place: str


def address_of(url: str) -> Address:
    """Return the address in `event_store`.

    Raises:
        ConfigurationError: Its prefix is invalid, or the extra `[redis]` is not installed.
    """
    if find_spec("redis") is None:
        raise ConfigurationError("An event_store in Redis needs an extra: pip install 'ppio-agent-runtime[redis]'")
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    prefix = options.pop("prefix", _DEFAULT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError("The prefix of event_store must have 1 to 64 letters, digits, '.', ':', '-' and '_'.")
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return Address(parts._replace(query=urlencode(options)).geturl(), prefix, place)


def connect(address: Address, **options: Any) -> Any:
    """Return a client that connects on first use.

    Raises:
        ConfigurationError: The address is invalid.
    """
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    options |= {
        "socket_timeout": COMMAND_SECONDS,
        "socket_connect_timeout": COMMAND_SECONDS,
        # One retry, for a pooled connection that was closed meanwhile; it is safe to run a script again.
        "retry": Retry(NoBackoff(), 1),
    }
    parts = urlsplit(address.url)
    protocol, _, kind = parts.scheme.partition("+")
    try:
        if kind:
            return _connect_many(address.url, kind, options | ({"ssl": True} if protocol == "rediss" else {}))
        from redis.asyncio import Redis

        return Redis.from_url(address.url, max_connections=2**31, **options)
    except (ValueError, TypeError, IndexError) as error:
        # Not chained: the library's message may repeat the address with its password.
        raise ConfigurationError(
            f"The event_store {address.place} cannot be used ({type(error).__name__}); it should look like "
            "redis://user:password@host:6379/0?prefix=my-agent, redis+sentinel://host:26379,host:26379/service or "
            "redis+cluster://host:6379,host:6379."
        ) from None


async def disconnect(client: Any) -> None:
    """Close a client's connections, on the event loop that used them; redis-py leaves those to Sentinel open."""
    sentinel = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for each in (client, *(sentinel.sentinels if sentinel is not None else ())):
        await each.aclose()


def _connect_many(url: str, kind: str, options: dict[str, Any]) -> Any:
    """Return a client of a cluster, or of the server that Sentinel names as master of a service."""
    parts = urlsplit(url)
    credentials, _, places = parts.netloc.rpartition("@")
    hosts = [(host or "127.0.0.1", int(port or _PORTS[kind])) for host, _, port in map(_split_port, places.split(","))]
    user, _, password = credentials.partition(":")
    secrets = {"username": unquote(user) or None, "password": unquote(password) or None}
    options |= {name: value for name, value in secrets.items() if value is not None}
    options |= {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if kind == "cluster":
        from redis.asyncio.cluster import ClusterNode, RedisCluster

        return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in hosts], **options)
    from redis.asyncio.sentinel import Sentinel

    service, _, database = parts.path.strip("/").partition("/")
    sentinel_options = {name: value for name, value in options.items() if name.startswith(("socket_", "ssl"))}
    own = {name.removeprefix("sentinel_"): options.pop(name) for name in list(options) if name.startswith("sentinel_")}
    sentinel: Any = Sentinel(hosts, sentinel_kwargs=sentinel_options | own, **options)  # type: ignore[no-untyped-call]
    if not service:
        raise ValueError
    return sentinel.master_for(service, db=int(database or 0))


def _split_port(place: str) -> tuple[str, str, str]:
    host, colon, port = place.rpartition(":")
    return (host, colon, port) if colon and not port.endswith("]") else (place, "", "")


class Scripts:
    """The store's Lua scripts, each of which the server runs atomically."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self.base: str = f"{{{prefix}}}:"  # the hash tag of a cluster: all keys on one node
        common = (_SCRIPTS / "common.lua").read_text()
        self._sources = {
            path.stem: (common + path.read_text()).encode() for path in _SCRIPTS.glob("*.lua") if path.stem != "common"
        }
        self._digests = {
            name: hashlib.sha1(source, usedforsecurity=False).hexdigest() for name, source in self._sources.items()
        }

    async def run(self, name: str, *arguments: Any) -> Any:
        """Run a script, and return its result."""
        from redis.exceptions import NoScriptError

        try:
            return await self._client.evalsha(self._digests[name], 1, self.base, *arguments)
        except NoScriptError:
            return await self._client.eval(self._sources[name], 1, self.base, *arguments)
