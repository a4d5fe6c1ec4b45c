"""Layers around every route. Each is pure ASGI and knows nothing of the others."""
