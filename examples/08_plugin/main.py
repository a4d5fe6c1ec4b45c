"""One agent, two protocols: the plugin next door adds JSON-RPC to the same handler.

python examples/08_plugin/main.py
curl localhost:8080/rpc --json '{"jsonrpc": "2.0", "id": 1, "method": "invoke", "params": {"text": "to be"}}'
curl localhost:8080/rpc --json '{"jsonrpc": "2.0", "id": 2, "method": "stream", "params": {"text": "to be"}}'

A plugin that is installed as a distribution is found by name. In its pyproject.toml:

    [project.entry-points."ppio_agent_runtime.plugins"]
    jsonrpc = "json_rpc:JsonRpc"

and PPIO_AGENT_PLUGINS=jsonrpc in the agent's environment, instead of the line app.install(...).
"""

from collections.abc import AsyncIterator
from typing import Any

from json_rpc import JsonRpc

from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()
app.install(JsonRpc())


@app.entrypoint
async def spell(request: dict[str, Any]) -> AsyncIterator[str]:
    for word in request["text"].split():
        yield word.upper()


if __name__ == "__main__":
    app.run()
