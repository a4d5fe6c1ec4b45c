"""`/docs`: shows the OpenAPI document, without requests to other servers.

With the extra `[docs]` it is Swagger UI, whose files `fastapi-swagger` ships; without it a small page of our own.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .static_files import StaticFiles, send_file

if TYPE_CHECKING:
    from ..asgi import ASGIApp, Receive, Scope, Send

_OWN: Final = Path(__file__).parent / "docs"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class DocsPage:
    """Responds to GET and HEAD for `/docs` and its files, and passes everything else on.

    Args:
        app: The next ASGI app; it serves `/openapi.json`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        spec = find_spec("fastapi_swagger")
        shipped = [] if spec is None else [Path(each) / "resources" for each in spec.submodule_search_locations or ()]
        self._index = "swagger.html" if shipped else "plain.html"
        self._files = StaticFiles([_OWN, *shipped], _POLICY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond, or pass the request on."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            path: str = scope["path"].removeprefix(scope.get("root_path", ""))
            name = self._index if path == "/docs" else path.removeprefix("/docs/") if path.startswith("/docs/") else ""
            if (file := await self._files.find(name)) is not None:
                return await send_file(scope, send, file, b"accept-encoding")
        await self._app(scope, receive, send)
