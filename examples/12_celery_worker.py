"""A Celery worker that hands long work to an agent. A task may be delivered twice; the agent runs once.

cd examples
CELERY_BROKER=redis://localhost celery --app 12_celery_worker worker &
python -c 'import importlib; print(importlib.import_module("12_celery_worker").ask.delay("My name is Ada").get())'
"""

import os
from pathlib import Path
from typing import Any

from celery import Celery

from ppio_agent_client import NetworkError, SyncAgentRuntimeClient

TEMPLATE = str(Path(__file__).parent / "04_conversation")
BROKER = os.environ.get("CELERY_BROKER", "redis://localhost")

app = Celery("agents", broker=BROKER, backend=BROKER)
client = SyncAgentRuntimeClient(provider="local")  # each process of the worker has connections of its own


@app.task(bind=True, acks_late=True, autoretry_for=(NetworkError,), max_retries=5)  # type: ignore[untyped-decorator]
def ask(task: Any, prompt: str) -> Any:
    session = client.create_session(TEMPLATE, timeout_seconds=600, session_id="orders")
    # The key is the task's id: a retry, or another worker after a crash, finds the work that was begun.
    handle = session.submit({"prompt": prompt}, idempotency_key=task.request.id)
    return handle.result(timeout=300).result


# In production, with PPIO_API_KEY set:
#   SyncAgentRuntimeClient()
#   TEMPLATE = "my-agent"
