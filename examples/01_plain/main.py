"""The smallest agent: a function that takes a JSON object and returns one.

python examples/01_plain/main.py
curl localhost:8080/invocations --json '{"prompt": "Ada"}'
"""

from typing import Any

from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()


@app.entrypoint
def greet(request: dict[str, Any]) -> dict[str, Any]:
    # A plain `def` runs in a thread of its own, so it may block: call a database, a model, another service.
    return {"greeting": f"Hello, {request.get('prompt', 'stranger')}!"}


if __name__ == "__main__":
    app.run()
