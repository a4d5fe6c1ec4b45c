"""Which authorities vouch for a server: the one TLS context of this process."""

from __future__ import annotations

import functools
import os
import ssl

from ppio_agent_models import ConfigurationError


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the one TLS context of this process; reading the certificates takes 17 ms.

    Trusted is what `SSL_CERT_FILE` or `SSL_CERT_DIR` names, as in httpx, else the authorities of certifi.

    Raises:
        ConfigurationError: They lead nowhere.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        import certifi

        file = certifi.where()
    elif not file and folder and not os.path.isdir(folder):  # noqa: PTH112  # pathlib delays each start
        raise ConfigurationError(f"SSL_CERT_DIR is {folder!r}, and there is no such directory")
    try:
        return ssl.create_default_context(cafile=file or None, capath=None if file else folder)
    except OSError as error:
        raise ConfigurationError(f"SSL_CERT_FILE is {file!r}, where no certificates can be read: {error}") from error
