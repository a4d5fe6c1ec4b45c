"""This project's runtime, through its public API. `FEATURES` names what is on besides the defaults."""

import os

from handlers import PORT, handler

from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()
app.entrypoint(handler)

if "middleware" in os.environ.get("FEATURES", ""):

    @app.middleware
    async def pass_on(request, call_next):
        """Do nothing."""
        return await call_next(request)


if __name__ == "__main__":
    app.run(port=PORT, host="127.0.0.1")
