"""One call to a template: a session is found or made for it, and a made one is closed after it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from ppio_agent_models import PPIOAgentRuntimeError, SessionNotFoundError

from .._core.lifecycle import other_template_error
from .._core.requests import CallOptions, Request
from .._io import _async as io
from .session import SandboxSession
from .stream_source import InvocationSource

logger = logging.getLogger("ppio_agent_client")

if TYPE_CHECKING:
    import ppio_agent_models as models

    from .transport import Answer


class Sessions(Protocol):
    """What a call needs of its client, which has these methods."""

    async def create_session(self, template_id: str, *, session_id: str | None) -> SandboxSession: ...
    async def get_session(self, session_id: str) -> SandboxSession | None: ...
    async def get_template(self, template_id: str) -> models.AgentTemplate: ...


class OneCall:
    """A session for one call.

    Without a session id it is new and gone afterwards, whatever happens; with one it is joined or made, and lives on.
    """

    def __init__(self, client: Sessions, template_id: str, *, create_session: bool, session_id: str | None) -> None:
        self._client = client
        self._template_id = template_id
        self._create_session = create_session
        self._session_id = session_id
        self._session: SandboxSession | None = None

    @property
    def ends_its_session(self) -> bool:
        """Whether the session is made for this call alone."""
        return self._session_id is None

    async def begin(self) -> SandboxSession:
        """Return the session."""
        if self._create_session:
            self._session = await self._client.create_session(self._template_id, session_id=self._session_id)
        else:
            self._session = await self._find()
        return self._session

    async def end(self) -> None:
        """Close the session, if it was made for this call alone."""
        if self._session is None or not self.ends_its_session:
            return
        try:
            await io.to_the_end(self._session.close())
        except PPIOAgentRuntimeError:
            # What the call itself came to is what the caller must hear; the sandbox ends at its time.
            logger.warning("sandbox %s could not be ended after its call", self._session.sandbox_id, exc_info=True)

    async def _find(self) -> SandboxSession:
        wanted = self._session_id
        session = None if wanted is None else await self._client.get_session(wanted)
        if session is None:
            which = "no session_id is given" if wanted is None else f"no sandbox lives for session {wanted!r}"
            raise SessionNotFoundError(f"{which}, and create_session is False; create a session first")
        if session.template_id != self._template_id:
            template = await self._client.get_template(self._template_id)
            if session.template_id != template.template_id:
                raise other_template_error(session.session_id, session.template_id, self._template_id)
        return session


class OneStream(InvocationSource):
    """A stream that brings its session with it: the source behind `stream_agent`."""

    def __init__(self, call: OneCall, request: Request, options: CallOptions) -> None:
        super().__init__(None, request, options)
        self._one_call = call

    async def open(self) -> Answer:
        """Find or make the session and send the request; making a session has limits of its own."""
        self.context = (await self._one_call.begin()).context
        return await super().open()

    async def abandon(self, invocation_id: str) -> None:
        """Cancel the invocation where its sandbox lives on."""
        if not self._one_call.ends_its_session:
            await super().abandon(invocation_id)

    async def close(self) -> None:
        """Close a session that was made for this stream alone."""
        await self._one_call.end()
