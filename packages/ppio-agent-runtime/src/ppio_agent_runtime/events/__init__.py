"""Typed events: turns a handler's output into a run of AG-UI events, and typed events back into text."""
