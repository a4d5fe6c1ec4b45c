"""The names on the wire: headers, the protocol version, media types, and the limits that both sides apply."""

from __future__ import annotations

from typing import Final

PROTOCOL_HEADER: Final = "PPIO-Agent-Protocol"
"""Sent by a client that understands numbered events and a closing `done` or `error`; echoed by the runtime."""
PROTOCOL_VERSION: Final = "1"

SESSION_ID_HEADER: Final = "X-PPIO-Session-Id"
"""The session, percent-encoded UTF-8 (RFC 3986, section 2.1)."""
REQUEST_ID_HEADER: Final = "X-PPIO-Request-Id"
INVOCATION_ID_HEADER: Final = "X-PPIO-Invocation-Id"
USER_ID_HEADER: Final = "X-PPIO-User-Id"
TIMEOUT_HEADER: Final = "X-PPIO-Timeout"
"""How long the handler may take, in seconds; at most the runtime's configured timeout."""

INSTANCE_HEADER: Final = "PPIO-Agent-Instance"
"""In a response: the instance that sent it; replicas that share a store are one. In a request: the only instance that
may handle it; any other responds with 412."""
IDEMPOTENCY_KEY_HEADER: Final = "Idempotency-Key"
"""1 to 255 characters of printable ASCII; equal requests run the agent once."""
IDEMPOTENCY_REPLAYED_HEADER: Final = "Idempotency-Replayed"
"""`true` on the response to an earlier request with the same idempotency key."""
ON_DISCONNECT_HEADER: Final = "X-PPIO-On-Disconnect"
"""`cancel` or `continue`: what happens to the invocation if its caller disconnects."""
EVENTS_HEADER: Final = "PPIO-Agent-Events"
"""`1` asks for typed events instead of text; on a response it means that the events are typed."""
LAST_EVENT_ID_HEADER: Final = "Last-Event-ID"
"""The number of the last event that arrived (WHATWG HTML, section 9.2.4)."""

AGENTCORE_SESSION_ID_HEADER: Final = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"
AGENTCORE_REQUEST_ID_HEADER: Final = "X-Amzn-Bedrock-AgentCore-Runtime-Request-Id"
AGENTCORE_USER_ID_HEADER: Final = "X-Amzn-Bedrock-AgentCore-Runtime-User-Id"

SIGNED_HEADERS: Final = (
    "Content-Digest",
    SESSION_ID_HEADER,
    USER_ID_HEADER,
    TIMEOUT_HEADER,
    IDEMPOTENCY_KEY_HEADER,
    AGENTCORE_SESSION_ID_HEADER,
    AGENTCORE_USER_ID_HEADER,
)
"""What a signature (RFC 9421) covers besides method, path and query, if sent: adding one of these to a signed request
would turn it into another caller's request, or change how long it may take."""

JSON_MEDIA_TYPE: Final = "application/json"
SSE_MEDIA_TYPE: Final = "text/event-stream"

AGENT_PORT: Final = 8080
"""The port on which an agent listens inside its sandbox."""
MAX_SESSION_ID_CHARS: Final = 256
MAX_IDEMPOTENCY_KEY_CHARS: Final = 255
DEFAULT_MAX_REQUEST_BYTES: Final = 1024 * 1024
DEFAULT_TIMEOUT_SECONDS: Final = 300.0
DEFAULT_SANDBOX_SECONDS: Final = 300
MANIFEST_FILE: Final = ".ppio-agent.yaml"
"""The manifest's file name, in the agent's folder."""
