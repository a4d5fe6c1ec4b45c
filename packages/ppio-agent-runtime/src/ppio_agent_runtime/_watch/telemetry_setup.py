"""The OpenTelemetry SDK as the standard `OTEL_*` variables describe it; imported when spans are collected.

Endpoint, headers, timeout, sampler, batch sizes, resource and propagators are read by the SDK itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_UNNAMED: Final = "unknown_service"
"""How the SDK begins the name of a service that nobody has named."""


def is_disabled() -> bool:
    """Say whether the environment forbids all telemetry."""
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def collector_is_named() -> bool:
    """Say whether the environment names where spans go."""
    if os.environ.get("OTEL_TRACES_EXPORTER"):
        return bool(_exporter_names())
    return any(map(os.environ.get, ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")))


def program_has_set_up() -> bool:
    """Say whether somebody has set a provider already: the program, or opentelemetry-instrument."""
    from opentelemetry import trace

    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


def make_provider(agent_name: str) -> TracerProvider:
    """Return a provider that sends spans in batches.

    Args:
        agent_name: Name of the service, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` gives one.

    Raises:
        ConfigurationError: An exporter that the environment names is not installed.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    if str(resource.attributes.get("service.name", _UNNAMED)).startswith(_UNNAMED):
        resource = resource.merge(Resource({"service.name": agent_name}))
    # Not at exit: the app shuts it down at the end of its lifespan, and waits for a bounded time.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in _exporter_names():
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    return provider


def service_name(provider: Any) -> str | None:
    """Return the name that somebody gave to the service of a provider."""
    resource = getattr(provider, "resource", None)
    name = None if resource is None else resource.attributes.get("service.name")
    return name if isinstance(name, str) and name and not name.startswith(_UNNAMED) else None


def _exporter_names() -> list[str]:
    """Return the names of `OTEL_TRACES_EXPORTER`; `none` is no exporter."""
    given = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    return [name.strip() for name in given.split(",") if name.strip() not in ("", "none")]


def _exporter(name: str) -> Any:
    entry = name
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        entry = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    from importlib.metadata import entry_points  # slow to import

    for found in entry_points(group="opentelemetry_traces_exporter", name=entry):
        return found.load()()
    raise ConfigurationError(f"The traces exporter {entry!r}, which the OTEL_* variables ask for, is not installed.")
