"""One call to a template: finds or creates a session for it, and closes a created one afterwards."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ppio_agent_models import ConfigurationError, PPIOAgentRuntimeError, SessionNotFoundError

from .._core.lifecycle import other_template_error
from .._core.request_body import Request, text_in
from .._core.requests import CallOptions
from .._io import _async as io
from .session import SandboxSession
from .stream_source import InvocationSource

logger = logging.getLogger("ppio_agent_client")

if TYPE_CHECKING:
    from .client import AgentRuntimeClient
    from .transport import Answer


class OneCall:
    """A session for one call.

    Without a session ID, as argument or in the request, a new one is created and closed afterwards in any case; with
    one, that session is joined or created, and keeps running.

    Raises:
        ConfigurationError: The argument and the request name two sessions.
    """

    def __init__(
        self,
        client: AgentRuntimeClient,
        template_id: str,
        request: Request,
        *,
        create_session: bool,
        session_id: str | None,
    ) -> None:
        named = text_in(request, "session_id")
        if session_id is not None and named is not None and session_id != named:
            raise ConfigurationError(f"the argument names session {session_id!r}, and the request {named!r}")
        self._client = client
        self._template_id = template_id
        self._create_session = create_session
        self._session_id = session_id or named
        self._session: SandboxSession | None = None

    @property
    def ends_its_session(self) -> bool:
        """Whether the session is created for this call alone."""
        return self._session_id is None

    async def begin(self) -> SandboxSession:
        """Return the session."""
        if self._create_session:
            self._session = await self._client.create_session(self._template_id, session_id=self._session_id)
        else:
            self._session = await self._find()
        return self._session

    async def end(self) -> None:
        """Close the session, if it was created for this call alone."""
        if self._session is None or not self.ends_its_session:
            return
        try:
            await io.to_the_end(self._session.close())
        except PPIOAgentRuntimeError:
            # Not raised, because the caller needs the outcome of the call; the sandbox expires.
            logger.warning("sandbox %s could not be ended after its call", self._session.sandbox_id, exc_info=True)

    async def _find(self) -> SandboxSession:
        wanted = self._session_id
        session = None if wanted is None else await self._client.get_session(wanted)
        if session is None:
            which = "no session_id is given" if wanted is None else f"no sandbox is running for session {wanted!r}"
            raise SessionNotFoundError(f"{which}, and create_session is False; create a session first")
        if session.template_id != self._template_id:
            template = await self._client.get_template(self._template_id)
            if session.template_id != template.template_id:
                raise other_template_error(session.session_id, session.template_id, self._template_id)
        return session


class OneStream(InvocationSource):
    """The source of `stream_agent`: a stream that creates and closes its session."""

    def __init__(self, call: OneCall, request: Request, options: CallOptions) -> None:
        super().__init__(None, request, options)
        self._one_call = call

    async def open(self) -> Answer:
        """Find or make the session and send the request; making a session has limits of its own."""
        self.context = (await self._one_call.begin())._context(self._options)
        return await super().open()

    async def abandon(self, invocation_id: str) -> None:
        """Cancel the invocation, if its sandbox keeps running."""
        if not self._one_call.ends_its_session:
            await super().abandon(invocation_id)

    async def close(self, error: BaseException | None, chunks: int) -> None:
        """Close a session that was created for this stream alone."""
        try:
            await self._one_call.end()
        finally:
            await super().close(error, chunks)
