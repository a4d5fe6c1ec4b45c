"""Call agents: create sessions in sandboxes, invoke, stream. Async classes, their `Sync` twins, and their models."""

from ppio_agent_models._lazy import lazy_exports

from ._version import __version__ as __version__

TYPE_CHECKING = False  # the constant of `typing`, whose import would take most of this module's import time

if TYPE_CHECKING:
    from ppio_agent_models import AgentClientError as AgentClientError
    from ppio_agent_models import AgentError as AgentError
    from ppio_agent_models import AgentTemplate as AgentTemplate
    from ppio_agent_models import AuthenticationError as AuthenticationError
    from ppio_agent_models import BadRequestError as BadRequestError
    from ppio_agent_models import ConfigurationError as ConfigurationError
    from ppio_agent_models import ConnectTimeoutError as ConnectTimeoutError
    from ppio_agent_models import DrainingError as DrainingError
    from ppio_agent_models import EventsEvictedError as EventsEvictedError
    from ppio_agent_models import FirstByteTimeoutError as FirstByteTimeoutError
    from ppio_agent_models import HandlerError as HandlerError
    from ppio_agent_models import IdempotencyKeyReusedError as IdempotencyKeyReusedError
    from ppio_agent_models import IdleTimeoutError as IdleTimeoutError
    from ppio_agent_models import InvocationCancelledError as InvocationCancelledError
    from ppio_agent_models import InvocationError as InvocationError
    from ppio_agent_models import InvocationRequest as InvocationRequest
    from ppio_agent_models import InvocationResource as InvocationResource
    from ppio_agent_models import InvocationResponse as InvocationResponse
    from ppio_agent_models import InvocationState as InvocationState
    from ppio_agent_models import InvocationTimeoutError as InvocationTimeoutError
    from ppio_agent_models import MethodNotAllowedError as MethodNotAllowedError
    from ppio_agent_models import NetworkError as NetworkError
    from ppio_agent_models import NotAcceptableError as NotAcceptableError
    from ppio_agent_models import NotFoundError as NotFoundError
    from ppio_agent_models import OtherInstanceError as OtherInstanceError
    from ppio_agent_models import PayloadTooLargeError as PayloadTooLargeError
    from ppio_agent_models import PayloadValidationError as PayloadValidationError
    from ppio_agent_models import PingResponse as PingResponse
    from ppio_agent_models import PingStatus as PingStatus
    from ppio_agent_models import PlatformError as PlatformError
    from ppio_agent_models import PPIOAgentRuntimeError as PPIOAgentRuntimeError
    from ppio_agent_models import QuotaExceededError as QuotaExceededError
    from ppio_agent_models import RateLimitedError as RateLimitedError
    from ppio_agent_models import RequestError as RequestError
    from ppio_agent_models import RequestReadTimeoutError as RequestReadTimeoutError
    from ppio_agent_models import ResultValidationError as ResultValidationError
    from ppio_agent_models import SandboxConfig as SandboxConfig
    from ppio_agent_models import SandboxCreationError as SandboxCreationError
    from ppio_agent_models import SandboxGoneError as SandboxGoneError
    from ppio_agent_models import SandboxPausedError as SandboxPausedError
    from ppio_agent_models import SandboxStartTimeoutError as SandboxStartTimeoutError
    from ppio_agent_models import SerializationError as SerializationError
    from ppio_agent_models import SessionBusyError as SessionBusyError
    from ppio_agent_models import SessionInfo as SessionInfo
    from ppio_agent_models import SessionNotFoundError as SessionNotFoundError
    from ppio_agent_models import SessionStatus as SessionStatus
    from ppio_agent_models import StreamEvent as StreamEvent
    from ppio_agent_models import StreamInterruptedError as StreamInterruptedError
    from ppio_agent_models import TemplateNotFoundError as TemplateNotFoundError
    from ppio_agent_models import TotalTimeoutError as TotalTimeoutError
    from ppio_agent_models import UnavailableError as UnavailableError
    from ppio_agent_models import UnsupportedMediaTypeError as UnsupportedMediaTypeError

    from ._aiohttp import DefaultAioHttpClient as DefaultAioHttpClient
    from ._async.auth import AuthManager as AuthManager
    from ._async.client import AgentRuntimeClient as AgentRuntimeClient
    from ._async.invocation_handle import InvocationHandle as InvocationHandle
    from ._async.providers.local import LocalSandboxProvider as LocalSandboxProvider
    from ._async.providers.platform.provider import PlatformSandboxProvider as PlatformSandboxProvider
    from ._async.providers.protocol import SandboxProvider as SandboxProvider
    from ._async.session import SandboxSession as SandboxSession
    from ._async.stream import AgentEventStream as AgentEventStream
    from ._async.stream import InvocationStream as InvocationStream
    from ._async.templates import TemplateManager as TemplateManager
    from ._async.transport import DefaultAsyncHttpxClient as DefaultAsyncHttpxClient
    from ._config import ClientConfig as ClientConfig
    from ._sandbox import LogPage as LogPage
    from ._sandbox import Sandbox as Sandbox
    from ._sandbox import SandboxSpec as SandboxSpec
    from ._settings import AccessToken as AccessToken
    from ._settings import RequestSigner as RequestSigner
    from ._sync.auth import SyncAuthManager as SyncAuthManager
    from ._sync.client import SyncAgentRuntimeClient as SyncAgentRuntimeClient
    from ._sync.invocation_handle import SyncInvocationHandle as SyncInvocationHandle
    from ._sync.providers.local import SyncLocalSandboxProvider as SyncLocalSandboxProvider
    from ._sync.providers.platform.provider import SyncPlatformSandboxProvider as SyncPlatformSandboxProvider
    from ._sync.providers.protocol import SyncSandboxProvider as SyncSandboxProvider
    from ._sync.session import SyncSandboxSession as SyncSandboxSession
    from ._sync.stream import SyncAgentEventStream as SyncAgentEventStream
    from ._sync.stream import SyncInvocationStream as SyncInvocationStream
    from ._sync.templates import SyncTemplateManager as SyncTemplateManager
    from ._sync.transport import DefaultHttpxClient as DefaultHttpxClient
else:  # Hidden from type checkers, so that they refuse a name that does not exist.
    # fmt: off
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "._aiohttp": ("DefaultAioHttpClient",),
            "._async.auth": ("AuthManager",),
            "._async.client": ("AgentRuntimeClient",),
            "._async.invocation_handle": ("InvocationHandle",),
            "._async.session": ("SandboxSession",),
            "._async.stream": ("AgentEventStream", "InvocationStream"),
            "._async.templates": ("TemplateManager",),
            "._async.providers.protocol": ("SandboxProvider",),
            "._async.providers.local": ("LocalSandboxProvider",),
            "._async.providers.platform.provider": ("PlatformSandboxProvider",),
            "._async.transport": ("DefaultAsyncHttpxClient",),
            "._config": ("ClientConfig",),
            "._settings": ("AccessToken", "RequestSigner"),
            "._sandbox": ("LogPage", "Sandbox", "SandboxSpec"),
            "._sync.auth": ("SyncAuthManager",),
            "._sync.client": ("SyncAgentRuntimeClient",),
            "._sync.invocation_handle": ("SyncInvocationHandle",),
            "._sync.session": ("SyncSandboxSession",),
            "._sync.stream": ("SyncAgentEventStream", "SyncInvocationStream"),
            "._sync.templates": ("SyncTemplateManager",),
            "._sync.providers.protocol": ("SyncSandboxProvider",),
            "._sync.providers.local": ("SyncLocalSandboxProvider",),
            "._sync.providers.platform.provider": ("SyncPlatformSandboxProvider",),
            "._sync.transport": ("DefaultHttpxClient",),
            "ppio_agent_models": (
                "AgentClientError", "AgentError", "AgentTemplate", "AuthenticationError", "BadRequestError",
                "ConfigurationError", "ConnectTimeoutError", "DrainingError", "EventsEvictedError",
                "FirstByteTimeoutError", "HandlerError", "IdempotencyKeyReusedError", "IdleTimeoutError",
                "InvocationCancelledError", "InvocationError", "InvocationRequest", "InvocationResource",
                "InvocationResponse", "InvocationState", "InvocationTimeoutError", "MethodNotAllowedError",
                "NetworkError", "NotAcceptableError", "NotFoundError", "OtherInstanceError", "PayloadTooLargeError",
                "PayloadValidationError", "PingResponse", "PingStatus", "PlatformError", "PPIOAgentRuntimeError",
                "QuotaExceededError", "RateLimitedError", "RequestError", "RequestReadTimeoutError",
                "ResultValidationError", "SandboxConfig", "SandboxCreationError", "SandboxGoneError",
                "SandboxPausedError", "SandboxStartTimeoutError", "SerializationError", "SessionBusyError",
                "SessionInfo", "SessionNotFoundError", "SessionStatus", "StreamEvent", "StreamInterruptedError",
                "TemplateNotFoundError", "TotalTimeoutError", "UnavailableError", "UnsupportedMediaTypeError",
            ),
        },
    )
    # fmt: on
