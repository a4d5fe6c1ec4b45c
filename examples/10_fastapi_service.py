"""A web service between browsers and an agent: one client for its life, a session for each user, streams passed on.

uvicorn --app-dir examples 10_fastapi_service:app --port 8000
open http://localhost:8000, and reload the page while it speaks: it goes on where it was
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from ppio_agent_client import AgentRuntimeClient

TEMPLATE = str(Path(__file__).parent / "04_conversation")
PAGE = """<!doctype html><title>Agent</title><p id="said"></p><script>
const said = document.getElementById("said"), kept = sessionStorage;
const asked = new URLSearchParams(location.search).get("prompt") || "My name is Ada and my city is Lisbon.";
const where = new URLSearchParams({prompt: asked, last_event_id: kept.last || ""});
const source = new EventSource("/chat?" + where);
said.textContent = kept.said || "";
source.onmessage = event => {
  said.textContent = kept.said = said.textContent + JSON.parse(event.data);
  kept.last = event.lastEventId;
};
source.addEventListener("done", () => { source.close(); kept.clear(); said.dataset.state = "done"; });
source.addEventListener("error", event => {
  if (event.data) { source.close(); kept.clear(); said.textContent += " " + JSON.parse(event.data).error; }
});  // one without data is about the connection: the browser comes back by itself
</script>"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AgentRuntimeClient(provider="local") as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE


@app.get("/chat")
async def chat(request: Request, prompt: str, user: str = "ada", last_event_id: str = "") -> StreamingResponse:
    client: AgentRuntimeClient = request.app.state.client
    session = await client.create_session(TEMPLATE, session_id=f"user-{user}")  # made once, then found
    known = request.headers.get("last-event-id") or last_event_id
    stream = session.stream({"prompt": prompt}, on_disconnect="continue", last_event_id=known)
    return StreamingResponse(stream.sse(), media_type="text/event-stream")


# In production, with PPIO_API_KEY set:
#   AgentRuntimeClient()
#   TEMPLATE = "my-agent"
