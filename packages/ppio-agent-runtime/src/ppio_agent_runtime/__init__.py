"""Makes a Python function an HTTP service for agents: JSON, server-sent events, health, limits.

from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()

@app.entrypoint
async def agent(request: dict) -> dict:
    return {"echo": request["prompt"]}

app.run()
"""

from ppio_agent_models._lazy import lazy_exports

from ._version import __version__ as __version__

TYPE_CHECKING = False  # what `typing` has, without its import, which is most of what this door would cost

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
    from .context import RequestContext as RequestContext
    from .invocations.in_process import InvocationStream as InvocationStream
    from .limits.rate_limit import RateLimiter as RateLimiter
    from .observability.logging import configure_logging as configure_logging
    from .observability.metrics import MetricsCollector as MetricsCollector
    from .server import PPIOAgentRuntimeServer as PPIOAgentRuntimeServer
else:  # Hidden from type checkers, so that they refuse a name that does not exist.
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            ".app": ("PPIOAgentRuntimeApp", "AgentRuntimeApp"),
            ".config": ("AgentConfig", "RateLimit"),
            ".context": ("RequestContext",),
            ".invocations.in_process": ("InvocationStream",),
            ".observability.logging": ("configure_logging",),
            ".observability.metrics": ("MetricsCollector",),
            ".limits.rate_limit": ("RateLimiter",),
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
