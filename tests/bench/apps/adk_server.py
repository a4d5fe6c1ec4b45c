"""ADK's server, as `adk api_server` makes it, with sessions in memory and an agent that asks no model."""

import json

import uvicorn
from google.adk.agents import BaseAgent
from google.adk.cli.fast_api import get_fast_api_app
from google.adk.cli.utils.base_agent_loader import BaseAgentLoader
from google.adk.events import Event
from google.genai.types import Content, Part
from handlers import PLAIN, PORT, STREAMS, handler


class Agent(BaseAgent):
    """Calls the handler."""

    async def _run_async_impl(self, ctx):
        request = json.loads(ctx.user_content.parts[0].text)
        if STREAMS:
            async for value in handler(request):
                yield self._event(ctx, value, partial=True)
        else:
            yield self._event(ctx, await handler(request), partial=None)

    def _event(self, ctx, value, partial):
        content = Content(role="model", parts=[Part(text=json.dumps(value))])
        return Event(author=self.name, invocation_id=ctx.invocation_id, content=content, partial=partial)


class Loader(BaseAgentLoader):
    """Has the one agent."""

    def load_agent(self, agent_name):
        """Return it."""
        return Agent(name=agent_name)

    def list_agents(self):
        """Name it."""
        return ["bench"]


if PLAIN:
    raise SystemExit("plain functions are not compared here: an agent is async")

if __name__ == "__main__":
    in_memory = {"session_service_uri": "memory://", "use_local_storage": False}
    app = get_fast_api_app(agents_dir=".", agent_loader=Loader(), web=False, auto_create_session=True, **in_memory)
    uvicorn.run(app, host="127.0.0.1", port=PORT)
