"""What both kinds of connection need of this machine: certificates, proxies, a look at a descriptor."""

from __future__ import annotations

import functools
import os
import select
import ssl
import sys
from ipaddress import ip_address

from .._rules.requests import is_loopback


@functools.cache
def secure_context() -> ssl.SSLContext:
    """Return the one TLS context of this process; reading the certificates takes 17 ms.

    Trusted is what `SSL_CERT_FILE` or `SSL_CERT_DIR` names, as in httpx, else the authorities of certifi.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        import certifi  # not for who only speaks to this machine

        file = certifi.where()
    context = ssl.create_default_context(cafile=file or None, capath=None if file else folder)
    context.set_alpn_protocols(["http/1.1"])
    return context


def proxy_for(scheme: str, host: str) -> str | None:
    """Return the proxy that the environment names; none for this machine, whatever the environment says."""
    if is_loopback(host) or not _may_name_a_proxy():
        return None
    from urllib.request import getproxies, proxy_bypass  # 20 ms, and almost nobody has one

    if proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _may_name_a_proxy() -> bool:
    """Tell whether it is worth asking; elsewhere the system has settings of its own."""
    return sys.platform in {"darwin", "win32"} or any(name.lower().endswith("_proxy") for name in os.environ)


def is_address(host: str) -> bool:
    """Tell whether a host is an address and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_readable(descriptor: int) -> bool:
    """Tell whether something has arrived, or the end."""
    return _wait(descriptor, 0, to_write=False)[0]


def until_writable(descriptor: int, seconds: float | None) -> bool:
    """Wait until more can be sent. Tell whether it should be: not when the other side already answers.

    Raises:
        TimeoutError: Neither came for `seconds`.
    """
    readable, writable = _wait(descriptor, seconds, to_write=True)
    if not (readable or writable):
        raise TimeoutError("the other side does not take what is sent")
    return not readable


def _wait(descriptor: int, seconds: float | None, *, to_write: bool) -> tuple[bool, bool]:
    """Wait until something can be read, or written; tell which. An error and an end can be read."""
    if sys.platform == "win32":
        found = select.select([descriptor], [descriptor] if to_write else [], [], seconds)
        return bool(found[0]), bool(found[1])
    waiting = select.poll()  # select() knows only the first 1024 descriptors
    waiting.register(descriptor, select.POLLIN | (select.POLLOUT if to_write else 0))
    events = sum(event for _, event in waiting.poll(None if seconds is None else seconds * 1000))
    return bool(events & ~select.POLLOUT), bool(events & select.POLLOUT)


def is_expiry(error: OSError) -> bool:
    """Tell whether a limit of ours has passed; a timeout of the system's own has a number."""
    return isinstance(error, TimeoutError) and error.errno is None
