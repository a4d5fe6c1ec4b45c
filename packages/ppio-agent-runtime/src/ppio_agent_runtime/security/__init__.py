"""Who may call: API keys and signed requests."""
