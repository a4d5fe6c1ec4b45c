"""The PPIO platform on this machine: control plane, envd and agents, with real processes, and trouble on demand.

Its honesty is proven by the platform's own SDK, which we did not write (`tests/platform`).
"""

from __future__ import annotations

from .app import API_KEY, ENVD_PORT, Platform
from .builds import FAILS
from .faults import Fault, Faults
from .light import light_agent
from .request_log import Call, RequestLog
from .sandboxes import AGENT_PORT, CLIENT_ID, Sandbox
from .server import Server, running, serving
from .templates import Template

__all__ = [
    "AGENT_PORT",
    "API_KEY",
    "CLIENT_ID",
    "ENVD_PORT",
    "FAILS",
    "Call",
    "Fault",
    "Faults",
    "Platform",
    "RequestLog",
    "Sandbox",
    "Server",
    "Template",
    "light_agent",
    "running",
    "serving",
]
