"""Sandboxes and templates on the PPIO platform, over its HTTP API."""
