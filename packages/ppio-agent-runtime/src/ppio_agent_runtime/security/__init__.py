"""Authentication: API keys and signed requests."""
