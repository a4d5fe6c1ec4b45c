"""Invocations that outlive their request: begun once, worked on without a caller, answered to whoever comes."""
