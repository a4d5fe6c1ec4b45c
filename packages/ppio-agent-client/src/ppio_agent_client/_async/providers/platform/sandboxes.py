"""Finds sandboxes of the PPIO platform, and keeps the domains and tokens that requests to them need."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ppio_agent_models import AGENT_PORT, ConfigurationError, SandboxGoneError

from ...._core.platform import labels
from ...._core.platform.models import PlatformSandbox
from ...._core.platform.start import agent_start, needs_user
from ...._core.platform.urls import ENVD_PORT, ENVD_TOKEN_HEADER, TRAFFIC_TOKEN_HEADER, PlatformUrls
from ...._io import _async as io
from ...._sandbox import Sandbox
from .api import PlatformApi
from .templates import PlatformTemplates

if TYPE_CHECKING:
    from ppio_sandbox.core import AsyncSandbox as OfficialSandbox

    from ...auth import AuthManager

INSTALL_LINE: Final = "pip install 'ppio-agent-client[sandbox]'"
_OLDEST_ENVD: Final = "0.1.0"
"""An envd version whose API all later ones support."""
_ENVD_USER: Final = "Basic dXNlcjo="
"""The user `user`, which envd before 0.4.0 requires."""
_TOKEN_LIFE_SECONDS = 1
"""The time to live in requests for a traffic token; it is never longer than the current one, so nothing changes."""
_MAX_KNOWN = 20_000
"""How many sandboxes' tokens are kept; for older ones they are requested again."""
_CONNECTION_FIELDS = ("domain", "envd_token", "envd_version", "traffic_token")


class PlatformSandboxes:
    """Finds sandboxes, and keeps domains and tokens, which only `create` and `connect` return."""

    def __init__(self, api: PlatformApi, urls: PlatformUrls, auth: AuthManager, templates: PlatformTemplates) -> None:
        self._api = api
        self._urls = urls
        self._auth = auth
        self._templates = templates
        self._known: dict[str, PlatformSandbox] = {}

    def remember(self, returned: PlatformSandbox) -> None:
        """Store what the platform returned; connection fields that are missing keep their earlier values."""
        before = self._known.pop(returned.sandbox_id, returned)
        kept = {name: getattr(before, name) for name in _CONNECTION_FIELDS if getattr(returned, name) is None}
        self._known[returned.sandbox_id] = returned.model_copy(update=kept)
        if len(self._known) > _MAX_KNOWN:
            self._known.pop(next(iter(self._known)))

    def forget(self, sandbox_id: str) -> None:
        """Forget a sandbox that has ended."""
        self._known.pop(sandbox_id, None)

    def gone(self, sandbox_id: str) -> SandboxGoneError:
        """Forget a sandbox, and return the error for one that has ended."""
        self.forget(sandbox_id)
        return SandboxGoneError(f"sandbox {sandbox_id!r} was closed or has expired; create a new session")

    async def running(self, session_id: str) -> list[PlatformSandbox]:
        """Return the sandboxes of a session, the one to use first; more than one means a race."""
        found = await self._api.list_sandboxes(labels.OURS | labels.session_label(session_id))
        return [each for each in found if each.labels and each.labels.session_id == session_id]

    async def list_all(self) -> list[Sandbox]:
        """Return every sandbox of this SDK, oldest first, with the fields that the list has."""
        listed = await self._api.list_sandboxes(labels.OURS)
        return [self.as_sandbox(each, is_partial=self._lacks(each)) for each in listed]

    async def get(self, sandbox_id: str) -> Sandbox | None:
        """Return the current state of a sandbox; None if it has ended, or isn't one of this SDK."""
        found = await self._look_up(sandbox_id)
        return None if found is None else await self._with_token(found)

    async def complete(self, listed: PlatformSandbox) -> Sandbox | None:
        """Return a listed sandbox with everything that calls need; None if it has ended meanwhile."""
        return await self.get(listed.sandbox_id) if self._lacks(listed) else self.as_sandbox(listed)

    async def resume(self, sandbox_id: str) -> Sandbox:
        """Resume a sandbox, for its original time to live. See `PlatformSandboxProvider.resume`."""
        found = await self._look_up(sandbox_id)
        if found is None or found.labels is None:
            raise self.gone(sandbox_id)
        if found.state == "running":
            return await self._with_token(found)
        life_seconds = found.labels.life_seconds
        connected = await self._api.connect(sandbox_id, life_seconds)
        if connected is None:
            raise self.gone(sandbox_id)
        self.remember(connected)
        ends_at = _now() + timedelta(seconds=life_seconds)
        return self.as_sandbox(found.model_copy(update={"state": "running", "ends_at": ends_at}))

    def as_new(self, made: PlatformSandbox, metadata: dict[str, str], timeout_seconds: float) -> Sandbox:
        """Return a sandbox that was just created, with this metadata and time to live."""
        now = _now()
        self.remember(made)
        known = {"labels": labels.read_labels(metadata), "state": "running", "started_at": now}
        return self.as_sandbox(made.model_copy(update={**known, "ends_at": now + timedelta(seconds=timeout_seconds)}))

    def as_sandbox(self, returned: PlatformSandbox, *, is_partial: bool = False) -> Sandbox:
        """Convert a sandbox that the platform returned."""
        assert returned.labels is not None
        known = self._connection(returned.sandbox_id)
        url, headers = self._urls.of_port(returned.sandbox_id, AGENT_PORT, known.domain)
        headers["Authorization"] = f"Bearer {self._auth.session_token(returned.labels.session_id)}"
        template_id = returned.template_id or returned.labels.template
        return Sandbox(
            sandbox_id=returned.sandbox_id,
            session_id=returned.labels.session_id,
            template_id=template_id,
            url=url,
            state=returned.state,
            created_at=returned.started_at,
            expires_at=None if returned.state == "paused" else returned.ends_at,
            life_seconds=returned.labels.life_seconds,
            wakes=returned.labels.wakes,
            start_timeout_seconds=agent_start(self._templates.cached(template_id)).timeout_seconds,
            headers=headers | _traffic_headers(known),
            metadata=returned.labels.metadata,
            is_partial=is_partial,
        )

    def envd(self, sandbox_id: str) -> tuple[str, dict[str, str]]:
        """Return the URL of a sandbox's envd, and the headers for requests to it."""
        known = self._connection(sandbox_id)
        url, headers = self._envd(known)
        if needs_user(known.envd_version):
            headers["Authorization"] = _ENVD_USER
        return url, headers | _traffic_headers(known)

    def official(self, sandbox_id: str) -> OfficialSandbox:
        """Return the official SDK's handle of a sandbox. See `OfficialSource`."""
        known = self._known.get(sandbox_id)
        if known is None:
            raise ConfigurationError(
                f"the connection data of sandbox {sandbox_id!r} was not requested from the platform yet; call "
                "`get_status()` of its session first"
            )
        try:
            from packaging.version import Version
            from ppio_sandbox.core import AsyncSandbox as Official
            from ppio_sandbox.core.connection_config import ConnectionConfig
        except ImportError as error:
            raise ConfigurationError(f"session.sandbox needs the platform's own SDK: {INSTALL_LINE}") from error
        url, headers = self._envd(known)
        return Official(
            sandbox_id=sandbox_id,
            sandbox_domain=known.domain,
            envd_version=Version(known.envd_version or _OLDEST_ENVD),
            envd_access_token=known.envd_token,
            traffic_access_token=known.traffic_token,
            connection_config=ConnectionConfig(
                domain=self._urls.domain,
                api_key=self._auth.fixed_key,  # only sent to the platform
                api_url=self._urls.api,
                sandbox_url=url,
                extra_sandbox_headers=headers,
            ),
        )

    def _envd(self, known: PlatformSandbox) -> tuple[str, dict[str, str]]:
        url, headers = self._urls.of_port(known.sandbox_id, ENVD_PORT, known.domain)
        return url, headers if known.envd_token is None else {**headers, ENVD_TOKEN_HEADER: known.envd_token}

    async def _look_up(self, sandbox_id: str) -> PlatformSandbox | None:
        found = await self._api.get(sandbox_id)
        if found is None or found.labels is None:
            self.forget(sandbox_id)
            return None
        self.remember(found)
        return found

    async def _with_token(self, found: PlatformSandbox) -> Sandbox:
        """Return the sandbox with its traffic token, which only `connect` returns."""
        if found.state == "running" and self._lacks(found):
            connected = await self._api.connect(found.sandbox_id, _TOKEN_LIFE_SECONDS)
            if connected is not None:
                self.remember(connected)
        return self.as_sandbox(found)

    def _lacks(self, listed: PlatformSandbox) -> bool:
        """Return whether calls to this sandbox need something that lists don't have."""
        known = self._known.get(listed.sandbox_id)
        is_private = listed.labels is not None and listed.labels.is_private
        return known is None or (is_private and known.traffic_token is None)

    def _connection(self, sandbox_id: str) -> PlatformSandbox:
        """Return the known connection data of a sandbox, perhaps none."""
        return self._known.get(sandbox_id) or PlatformSandbox.model_construct(sandbox_id=sandbox_id)


def _traffic_headers(known: PlatformSandbox) -> dict[str, str]:
    return {} if known.traffic_token is None else {TRAFFIC_TOKEN_HEADER: known.traffic_token}


def _now() -> datetime:
    return datetime.fromtimestamp(io.unix_now(), UTC)
