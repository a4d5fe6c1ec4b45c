"""The data that the page shows: `/console/settings`, `/console/runs`, `/console/spans`, `/console/log`.

If the agent has keys, these routes require one; they refuse requests from pages of other origins.
"""

from __future__ import annotations

import os
import platform
import re
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from ppio_agent_models import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    MethodNotAllowedError,
    NotFoundError,
)

from .._version import __version__
from ..config import RateLimit
from ..http.request import by_name, request_id_of
from ..http.responses import STREAM_HEADERS, send_error, send_json
from ..serialization import encode
from ..settings import without_password
from .log import LogLines, is_wanted, stream
from .runs import RunHistory
from .static_files import SAFE_HEADERS

if TYPE_CHECKING:
    from ..asgi import ASGIApp, Headers, Receive, Scope, Send
    from ..config import AgentConfig
    from ..invocations.manager import InvocationManager
    from ..observability.recorder import InvocationRecorder

_HEADERS: Final[Headers] = [(b"cache-control", b"no-store"), *SAFE_HEADERS]
_POSITION: Final = re.compile(rb"[0-9]{1,18}")


class ConsoleData:
    """Responds to paths below `/console/`, and passes everything else on.

    Args:
        app: The next ASGI app.
        config: The app's settings.
        manager: Has the invocations in flight.
        recorder: Reports the progress of runs to the history.
    """

    def __init__(
        self, app: ASGIApp, config: AgentConfig, manager: InvocationManager, recorder: InvocationRecorder
    ) -> None:
        self._app = app
        self._config = config
        self._manager = manager
        self._started_at = time.time()
        self._lines = LogLines() if is_wanted() else None
        self._history = recorder.observer = RunHistory(manager, keeps_frames=config.tells_errors)
        recorder.tracing.on_provider = self._add_processor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond, or pass the request on."""
        if scope["type"] == "lifespan":  # after the program and `configure_logging` have set up logging
            with nullcontext() if self._lines is None else self._lines.collecting():
                return await self._app(scope, receive, send)
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or not path.startswith("/console/"):
            return await self._app(scope, receive, send)
        try:
            await self._answer(path, scope, receive, send)
        except (AuthenticationError, BadRequestError, MethodNotAllowedError, NotFoundError) as error:
            request_id = request_id_of(by_name(scope["headers"]))
            allow: Headers = [(b"allow", b"GET")] if isinstance(error, MethodNotAllowedError) else []
            await send_error(send, error, request_id, None, tells_errors=False, more_headers=[*_HEADERS, *allow])

    async def _answer(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        name = path.removeprefix("/console/")
        if name not in ("settings", "runs", "spans", "log"):
            raise NotFoundError(f"There is no route {path[:200]!r}.")
        if scope["method"] != "GET":
            raise MethodNotAllowedError(f"{path} takes GET, not {scope['method'][:20]}.")
        _refuse_other_origins(scope)
        if name == "log":
            return await self._log(scope, receive, send)
        value = self._settings() if name == "settings" else {"runs": self._history.listed()}
        if name == "spans":
            value = self._spans(scope)
        await send_json(send, 200, encode(value), _HEADERS)

    def _settings(self) -> dict[str, Any]:
        config, manager = self._config, self._manager
        described = config.json_schema()["properties"]
        secrets = type(config).secret_names()
        return {
            "name": _name_in(Path.cwd()),
            "agent": None if manager.handler is None else manager.handler.name,
            "version": __version__,
            "protocol": "1",
            "instance": manager.instance.decode(),
            "started_at": self._started_at,
            "python": platform.python_version(),
            "pid": os.getpid(),
            "has_log": self._lines is not None,
            "settings": [
                {
                    "name": name,
                    "value": _shown(value, is_secret=name in secrets),
                    "origin": origin,
                    "variable": config.variable_of(name),
                    "secret": name in secrets,
                    "description": described[name].get("description"),
                }
                for name, (value, origin) in config.explain().items()
            ],
        }

    def _spans(self, scope: Scope) -> dict[str, Any]:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("run", [])
        if len(given) != 1:
            raise BadRequestError("/console/spans needs one run: /console/spans?run=ID, with an id of /console/runs.")
        run = self._history.find(given[0])
        if run is None:
            raise NotFoundError(f"The run {given[0][:100]!r} is not one of those in flight or of the last that ended.")
        spans = [span.as_json() for span in run.spans()]
        is_over = run.ended is not None
        return {"run": run.id, "source": run.source, "complete": is_over, "frames": run.frames, "spans": spans}

    async def _log(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._lines is None:
            raise NotFoundError("The log is shown for agents that 'ppio-agent dev' runs.")
        position = by_name(scope["headers"]).get(b"last-event-id")
        if position is not None and not _POSITION.fullmatch(position):
            raise BadRequestError("Last-Event-ID must be the number of a line.")
        headers: Headers = [*STREAM_HEADERS, *SAFE_HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        after = None if position is None else int(position)
        manager = self._manager
        await stream(self._lines, after, lambda: manager.draining, self._config.heartbeat_seconds, receive, send)

    def _add_processor(self, provider: Any) -> None:
        from .otel_spans import RunSpanProcessor  # OpenTelemetry's SDK

        if hasattr(provider, "add_span_processor"):  # the SDK's has, others may not
            provider.add_span_processor(RunSpanProcessor(self._history))


def _refuse_other_origins(scope: Scope) -> None:
    """Refuse requests from a page of another origin, whatever `cors_origins` says: that is for callers of the agent.

    Raises:
        AuthenticationError: The request comes from such a page.
    """
    found = by_name(scope["headers"])
    origin = found.get(b"origin")
    if origin is not None and origin.partition(b"://")[2] != found.get(b"host"):
        raise AuthenticationError("Only the console's own page may read this.", status_code=403)


def _name_in(folder: Path) -> str | None:
    """Return the name that the manifest in a folder gives the agent; None without one that can be read."""
    from ppio_agent_models import MANIFEST_FILE, AgentManifest  # PyYAML

    try:
        return AgentManifest.from_yaml((folder / MANIFEST_FILE).read_text(encoding="utf-8")).metadata.name
    except (OSError, ValueError, ConfigurationError):
        return None


def _shown(value: Any, *, is_secret: bool) -> Any:
    if is_secret:
        return None if value is None else "set"
    if isinstance(value, RateLimit):
        return value.as_dict() | {"storage_uri": value.place}
    return without_password(value)
