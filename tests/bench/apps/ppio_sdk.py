"""The agent runtime of ppio-sandbox as shipped."""

from handlers import PORT, handler
from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()
app.entrypoint(handler)

if __name__ == "__main__":
    app.run(port=PORT, host="127.0.0.1")
