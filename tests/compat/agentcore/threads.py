"""An agent for AgentCore whose function is a plain generator."""

import os

from bedrock_agentcore import BedrockAgentCoreApp

app = BedrockAgentCoreApp()


@app.entrypoint
def count(payload, context):
    yield context.session_id
    yield from range(payload["to"])


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
