"""The wire between PPIO agents and their callers: data contracts, the exception tree, header names and limits."""

from ._lazy import lazy_exports

__version__ = "0.2.0"

TYPE_CHECKING = False  # what `typing` has, without its import, which is most of what importing this would cost

if TYPE_CHECKING:
    from ._agent_input import AgentInput as AgentInput
    from ._agent_input import Resume as Resume
    from ._agent_input import message_text as message_text
    from ._errors import ERROR_TYPES as ERROR_TYPES
    from ._errors import AgentClientError as AgentClientError
    from ._errors import AgentError as AgentError
    from ._errors import AuthenticationError as AuthenticationError
    from ._errors import BadRequestError as BadRequestError
    from ._errors import ConfigurationError as ConfigurationError
    from ._errors import ConnectTimeoutError as ConnectTimeoutError
    from ._errors import DrainingError as DrainingError
    from ._errors import EventsEvictedError as EventsEvictedError
    from ._errors import FirstByteTimeoutError as FirstByteTimeoutError
    from ._errors import HandlerError as HandlerError
    from ._errors import IdempotencyKeyReusedError as IdempotencyKeyReusedError
    from ._errors import IdleTimeoutError as IdleTimeoutError
    from ._errors import InvocationCancelledError as InvocationCancelledError
    from ._errors import InvocationError as InvocationError
    from ._errors import InvocationTimeoutError as InvocationTimeoutError
    from ._errors import MethodNotAllowedError as MethodNotAllowedError
    from ._errors import NetworkError as NetworkError
    from ._errors import NotAcceptableError as NotAcceptableError
    from ._errors import NotFoundError as NotFoundError
    from ._errors import OtherInstanceError as OtherInstanceError
    from ._errors import PayloadTooLargeError as PayloadTooLargeError
    from ._errors import PayloadValidationError as PayloadValidationError
    from ._errors import PlatformError as PlatformError
    from ._errors import PPIOAgentRuntimeError as PPIOAgentRuntimeError
    from ._errors import QuotaExceededError as QuotaExceededError
    from ._errors import RateLimitedError as RateLimitedError
    from ._errors import RequestError as RequestError
    from ._errors import RequestReadTimeoutError as RequestReadTimeoutError
    from ._errors import ResultValidationError as ResultValidationError
    from ._errors import SandboxCreationError as SandboxCreationError
    from ._errors import SandboxGoneError as SandboxGoneError
    from ._errors import SandboxPausedError as SandboxPausedError
    from ._errors import SandboxStartTimeoutError as SandboxStartTimeoutError
    from ._errors import SerializationError as SerializationError
    from ._errors import SessionBusyError as SessionBusyError
    from ._errors import SessionNotFoundError as SessionNotFoundError
    from ._errors import StreamInterruptedError as StreamInterruptedError
    from ._errors import TemplateNotFoundError as TemplateNotFoundError
    from ._errors import TotalTimeoutError as TotalTimeoutError
    from ._errors import UnavailableError as UnavailableError
    from ._errors import UnsupportedMediaTypeError as UnsupportedMediaTypeError
    from ._events import ActivityDeltaEvent as ActivityDeltaEvent
    from ._events import ActivitySnapshotEvent as ActivitySnapshotEvent
    from ._events import AgentEvent as AgentEvent
    from ._events import CustomEvent as CustomEvent
    from ._events import Interrupt as Interrupt
    from ._events import MessagesSnapshotEvent as MessagesSnapshotEvent
    from ._events import RawEvent as RawEvent
    from ._events import ReasoningEncryptedValueEvent as ReasoningEncryptedValueEvent
    from ._events import ReasoningEndEvent as ReasoningEndEvent
    from ._events import ReasoningMessageChunkEvent as ReasoningMessageChunkEvent
    from ._events import ReasoningMessageContentEvent as ReasoningMessageContentEvent
    from ._events import ReasoningMessageEndEvent as ReasoningMessageEndEvent
    from ._events import ReasoningMessageStartEvent as ReasoningMessageStartEvent
    from ._events import ReasoningStartEvent as ReasoningStartEvent
    from ._events import RunErrorEvent as RunErrorEvent
    from ._events import RunFinishedEvent as RunFinishedEvent
    from ._events import RunOutcome as RunOutcome
    from ._events import RunStartedEvent as RunStartedEvent
    from ._events import StateDeltaEvent as StateDeltaEvent
    from ._events import StateSnapshotEvent as StateSnapshotEvent
    from ._events import StepFinishedEvent as StepFinishedEvent
    from ._events import StepStartedEvent as StepStartedEvent
    from ._events import SubagentErrorEvent as SubagentErrorEvent
    from ._events import SubagentFinishedEvent as SubagentFinishedEvent
    from ._events import SubagentStartedEvent as SubagentStartedEvent
    from ._events import TextMessageChunkEvent as TextMessageChunkEvent
    from ._events import TextMessageContentEvent as TextMessageContentEvent
    from ._events import TextMessageEndEvent as TextMessageEndEvent
    from ._events import TextMessageStartEvent as TextMessageStartEvent
    from ._events import ToolCallArgsEvent as ToolCallArgsEvent
    from ._events import ToolCallChunkEvent as ToolCallChunkEvent
    from ._events import ToolCallEndEvent as ToolCallEndEvent
    from ._events import ToolCallResultEvent as ToolCallResultEvent
    from ._events import ToolCallStartEvent as ToolCallStartEvent
    from ._events import WireModel as WireModel
    from ._headers import AGENT_PORT as AGENT_PORT
    from ._headers import AGENTCORE_REQUEST_ID_HEADER as AGENTCORE_REQUEST_ID_HEADER
    from ._headers import AGENTCORE_SESSION_ID_HEADER as AGENTCORE_SESSION_ID_HEADER
    from ._headers import AGENTCORE_USER_ID_HEADER as AGENTCORE_USER_ID_HEADER
    from ._headers import DEFAULT_MAX_REQUEST_BYTES as DEFAULT_MAX_REQUEST_BYTES
    from ._headers import DEFAULT_SANDBOX_SECONDS as DEFAULT_SANDBOX_SECONDS
    from ._headers import DEFAULT_TIMEOUT_SECONDS as DEFAULT_TIMEOUT_SECONDS
    from ._headers import EVENTS_HEADER as EVENTS_HEADER
    from ._headers import IDEMPOTENCY_KEY_HEADER as IDEMPOTENCY_KEY_HEADER
    from ._headers import IDEMPOTENCY_REPLAYED_HEADER as IDEMPOTENCY_REPLAYED_HEADER
    from ._headers import INSTANCE_HEADER as INSTANCE_HEADER
    from ._headers import INVOCATION_ID_HEADER as INVOCATION_ID_HEADER
    from ._headers import JSON_MEDIA_TYPE as JSON_MEDIA_TYPE
    from ._headers import LAST_EVENT_ID_HEADER as LAST_EVENT_ID_HEADER
    from ._headers import MANIFEST_FILE as MANIFEST_FILE
    from ._headers import MAX_IDEMPOTENCY_KEY_CHARS as MAX_IDEMPOTENCY_KEY_CHARS
    from ._headers import MAX_SESSION_ID_CHARS as MAX_SESSION_ID_CHARS
    from ._headers import ON_DISCONNECT_HEADER as ON_DISCONNECT_HEADER
    from ._headers import PROTOCOL_HEADER as PROTOCOL_HEADER
    from ._headers import PROTOCOL_VERSION as PROTOCOL_VERSION
    from ._headers import REQUEST_ID_HEADER as REQUEST_ID_HEADER
    from ._headers import SESSION_ID_HEADER as SESSION_ID_HEADER
    from ._headers import SIGNED_HEADERS as SIGNED_HEADERS
    from ._headers import SSE_MEDIA_TYPE as SSE_MEDIA_TYPE
    from ._headers import TIMEOUT_HEADER as TIMEOUT_HEADER
    from ._headers import USER_ID_HEADER as USER_ID_HEADER
    from ._health import PingResponse as PingResponse
    from ._health import PingStatus as PingStatus
    from ._invocation import InvocationRequest as InvocationRequest
    from ._invocation import InvocationResource as InvocationResource
    from ._invocation import InvocationResponse as InvocationResponse
    from ._invocation import InvocationState as InvocationState
    from ._invocation import StreamEvent as StreamEvent
    from ._manifest import AgentManifest as AgentManifest
    from ._manifest import ManifestDocument as ManifestDocument
    from ._manifest import UnknownField as UnknownField
    from ._session import SandboxConfig as SandboxConfig
    from ._session import SessionInfo as SessionInfo
    from ._session import SessionStatus as SessionStatus
    from ._template import AgentMetadata as AgentMetadata
    from ._template import AgentTemplate as AgentTemplate
else:  # Hidden from type checkers, so that they refuse a name that does not exist.
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "._agent_input": (
                "AgentInput",
                "Resume",
                "message_text",
            ),
            "._errors": (
                "IdempotencyKeyReusedError",
                "EventsEvictedError",
                "ERROR_TYPES",
                "AgentClientError",
                "AgentError",
                "AuthenticationError",
                "BadRequestError",
                "ConfigurationError",
                "ConnectTimeoutError",
                "DrainingError",
                "FirstByteTimeoutError",
                "HandlerError",
                "IdleTimeoutError",
                "InvocationCancelledError",
                "InvocationError",
                "InvocationTimeoutError",
                "MethodNotAllowedError",
                "NetworkError",
                "NotAcceptableError",
                "NotFoundError",
                "OtherInstanceError",
                "PayloadTooLargeError",
                "PayloadValidationError",
                "PlatformError",
                "PPIOAgentRuntimeError",
                "QuotaExceededError",
                "RateLimitedError",
                "RequestError",
                "RequestReadTimeoutError",
                "ResultValidationError",
                "SandboxCreationError",
                "SandboxGoneError",
                "SandboxPausedError",
                "SandboxStartTimeoutError",
                "SerializationError",
                "SessionBusyError",
                "SessionNotFoundError",
                "StreamInterruptedError",
                "TemplateNotFoundError",
                "TotalTimeoutError",
                "UnavailableError",
                "UnsupportedMediaTypeError",
            ),
            "._events": (
                "ActivityDeltaEvent",
                "ActivitySnapshotEvent",
                "AgentEvent",
                "CustomEvent",
                "Interrupt",
                "MessagesSnapshotEvent",
                "RawEvent",
                "ReasoningEncryptedValueEvent",
                "ReasoningEndEvent",
                "ReasoningMessageChunkEvent",
                "ReasoningMessageContentEvent",
                "ReasoningMessageEndEvent",
                "ReasoningMessageStartEvent",
                "ReasoningStartEvent",
                "RunErrorEvent",
                "RunFinishedEvent",
                "RunOutcome",
                "RunStartedEvent",
                "StateDeltaEvent",
                "StateSnapshotEvent",
                "StepFinishedEvent",
                "StepStartedEvent",
                "SubagentErrorEvent",
                "SubagentFinishedEvent",
                "SubagentStartedEvent",
                "TextMessageChunkEvent",
                "TextMessageContentEvent",
                "TextMessageEndEvent",
                "TextMessageStartEvent",
                "ToolCallArgsEvent",
                "ToolCallChunkEvent",
                "ToolCallEndEvent",
                "ToolCallResultEvent",
                "ToolCallStartEvent",
                "WireModel",
            ),
            "._headers": (
                "EVENTS_HEADER",
                "MAX_IDEMPOTENCY_KEY_CHARS",
                "LAST_EVENT_ID_HEADER",
                "ON_DISCONNECT_HEADER",
                "IDEMPOTENCY_REPLAYED_HEADER",
                "IDEMPOTENCY_KEY_HEADER",
                "AGENT_PORT",
                "AGENTCORE_REQUEST_ID_HEADER",
                "AGENTCORE_SESSION_ID_HEADER",
                "AGENTCORE_USER_ID_HEADER",
                "DEFAULT_MAX_REQUEST_BYTES",
                "DEFAULT_SANDBOX_SECONDS",
                "DEFAULT_TIMEOUT_SECONDS",
                "INSTANCE_HEADER",
                "INVOCATION_ID_HEADER",
                "JSON_MEDIA_TYPE",
                "MANIFEST_FILE",
                "MAX_SESSION_ID_CHARS",
                "PROTOCOL_HEADER",
                "PROTOCOL_VERSION",
                "REQUEST_ID_HEADER",
                "SESSION_ID_HEADER",
                "SIGNED_HEADERS",
                "SSE_MEDIA_TYPE",
                "TIMEOUT_HEADER",
                "USER_ID_HEADER",
            ),
            "._health": (
                "PingResponse",
                "PingStatus",
            ),
            "._invocation": (
                "InvocationResource",
                "InvocationState",
                "InvocationRequest",
                "InvocationResponse",
                "StreamEvent",
            ),
            "._manifest": (
                "AgentManifest",
                "ManifestDocument",
                "UnknownField",
            ),
            "._session": (
                "SandboxConfig",
                "SessionInfo",
                "SessionStatus",
            ),
            "._template": (
                "AgentMetadata",
                "AgentTemplate",
            ),
        },
    )
