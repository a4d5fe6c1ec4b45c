"""An agent for AgentCore that talks over a WebSocket."""

import os

from bedrock_agentcore import BedrockAgentCoreApp

app = BedrockAgentCoreApp()


@app.websocket
async def talk(websocket, context):
    await websocket.accept()
    heard = await websocket.receive_json()
    await websocket.send_json({"heard": heard, "session": context.session_id})
    await websocket.close()


@app.entrypoint
async def unused(payload):
    return payload


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
