"""A raw server behind TLS, with a certificate of an authority that nobody knows but the test."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.support.raw_server import RawServer, Script, raw_server


@contextmanager
def tls_server(authority_file: Path, *scripts: Script) -> Iterator[RawServer]:
    """Serve as `raw_server` does, as `localhost`; write the certificate of the authority to a file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(authority_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("localhost").configure_cert(context)
    with raw_server(*scripts, tls=context) as server:
        server.url = server.url.replace("http://127.0.0.1", "https://localhost")
        yield server
