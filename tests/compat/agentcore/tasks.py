"""An agent for AgentCore that goes on after its answer, and says how it is."""

import asyncio
import os
import threading

from bedrock_agentcore.runtime import BedrockAgentCoreApp
from bedrock_agentcore.runtime.models import PingStatus

app = BedrockAgentCoreApp(debug=True)
release = threading.Event()
asked = {"status": None}


@app.async_task
async def index(name):
    while not release.is_set():  # noqa: ASYNC110  # another thread sets it
        await asyncio.sleep(0.01)
    return name


def import_files(task_id):
    release.wait()
    app.complete_async_task(task_id)


@app.ping
def health():
    if asked["status"] == "broken":
        raise RuntimeError("no answer")
    return asked["status"]


@app.entrypoint
async def work(payload):
    do = payload["do"]
    if do == "start":
        release.clear()
        asyncio.create_task(index("docs"))  # noqa: RUF006  # as such agents do it
        task_id = app.add_async_task("import", {"files": 3})
        threading.Thread(target=import_files, args=(task_id,), daemon=True).start()
        await asyncio.sleep(0)
    elif do == "finish":
        release.set()
    elif do == "ask":
        asked["status"] = (
            PingStatus(payload["status"]) if payload["status"] in ("Healthy", "HealthyBusy") else payload["status"]
        )
    elif do == "unknown":
        return app.complete_async_task(12)
    return {"active": app.get_async_task_info()["active_count"], "status": app.get_current_ping_status().value}


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
