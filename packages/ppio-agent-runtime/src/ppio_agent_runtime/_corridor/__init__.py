"""The ways in and out: a call is parsed, handed to the engine and answered, over HTTP, a WebSocket or in process."""
