"""Where `transport` was."""

from .transport import Answer, Transport

__all__ = ["Answer", "Transport"]
