"""Django: views that pass a stream on, async and plain, and one that waits for the answer.

uvicorn --app-dir examples 11_django:application --port 8000    (ASGI: /stream and /ask)
gunicorn --chdir examples 11_django:wsgi --bind :8000 --threads 8    (WSGI: /stream-sync and /ask)
and look at http://localhost:8000/stream?prompt=My%20name%20is%20Ada
"""

from pathlib import Path

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path

from ppio_agent_client import AgentRuntimeClient, SyncAgentRuntimeClient

TEMPLATE = str(Path(__file__).parent / "04_conversation")
PROVIDER = "local"

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="example")  # noqa: S106  # signs nothing here
django.setup()
client = AgentRuntimeClient(provider=PROVIDER)  # both may be shared by all requests: threads, event loops and forks
sync_client = SyncAgentRuntimeClient(provider=PROVIDER)


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    session = await client.create_session(TEMPLATE, session_id=f"user-{request.GET.get('user', 'ada')}")
    known = request.headers.get("Last-Event-ID")
    chunks = session.stream({"prompt": request.GET["prompt"]}, on_disconnect="continue", last_event_id=known)
    return StreamingHttpResponse(chunks.sse(), content_type="text/event-stream")


def stream_sync(request: HttpRequest) -> StreamingHttpResponse:
    session = sync_client.create_session(TEMPLATE, session_id=f"user-{request.GET.get('user', 'ada')}")
    known = request.headers.get("Last-Event-ID")
    chunks = session.stream({"prompt": request.GET["prompt"]}, on_disconnect="continue", last_event_id=known)
    return StreamingHttpResponse(chunks.sse(), content_type="text/event-stream")


def ask(request: HttpRequest) -> JsonResponse:
    session = sync_client.create_session(TEMPLATE, session_id=f"user-{request.GET.get('user', 'ada')}")
    return JsonResponse({"answer": session.invoke({"prompt": request.GET["prompt"]}).result})


urlpatterns = [path("stream", stream), path("stream-sync", stream_sync), path("ask", ask)]
application = get_asgi_application()
wsgi = get_wsgi_application()

# In production, with PPIO_API_KEY set:
#   PROVIDER = None
#   TEMPLATE = "my-agent"
