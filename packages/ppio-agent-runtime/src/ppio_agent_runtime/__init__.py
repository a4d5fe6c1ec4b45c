"""Serves a Python function as an agent over HTTP: JSON, server-sent events, health checks, limits.

from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()

@app.entrypoint
async def agent(request: dict) -> dict:
    return {"echo": request["prompt"]}

app.run()
"""

from ppio_agent_models._lazy import lazy_exports

from ._version import __version__ as __version__

TYPE_CHECKING = False  # the constant of `typing`, whose import would take most of this module's import time

if TYPE_CHECKING:
    from ppio_agent_models import AgentError as AgentError
    from ppio_agent_models import ConfigurationError as ConfigurationError
    from ppio_agent_models import PingResponse as PingResponse
    from ppio_agent_models import PingStatus as PingStatus
    from ppio_agent_models import PPIOAgentRuntimeError as PPIOAgentRuntimeError
    from ppio_agent_models import SerializationError as SerializationError

    from .app import AgentRuntimeApp as AgentRuntimeApp
    from .app import PPIOAgentRuntimeApp as PPIOAgentRuntimeApp
    from .config import AgentConfig as AgentConfig
    from .config import RateLimit as RateLimit
    from .config import RateLimiter as RateLimiter
    from .context import RequestContext as RequestContext
    from .events.encoded import EncodedEvent as EncodedEvent
    from .events.encoded import EventEncoder as EventEncoder
    from .invocations.handle import InvocationHandle as InvocationHandle
    from .invocations.in_process import InvocationStream as InvocationStream
    from .observability.logging import configure_logging as configure_logging
    from .observability.metrics import MetricsCollector as MetricsCollector
    from .server import PPIOAgentRuntimeServer as PPIOAgentRuntimeServer
else:  # Hidden from type checkers, so that they refuse a name that does not exist.
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            ".app": ("PPIOAgentRuntimeApp", "AgentRuntimeApp"),
            ".config": ("AgentConfig", "RateLimit", "RateLimiter"),
            ".context": ("RequestContext",),
            ".events.encoded": ("EncodedEvent", "EventEncoder"),
            ".invocations.handle": ("InvocationHandle",),
            ".invocations.in_process": ("InvocationStream",),
            ".observability.logging": ("configure_logging",),
            ".observability.metrics": ("MetricsCollector",),
            ".server": ("PPIOAgentRuntimeServer",),
            "ppio_agent_models": (
                "AgentError",
                "ConfigurationError",
                "PPIOAgentRuntimeError",
                "PingResponse",
                "PingStatus",
                "SerializationError",
            ),
        },
    )
