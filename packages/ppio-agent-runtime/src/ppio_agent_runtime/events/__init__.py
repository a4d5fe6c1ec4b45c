"""Typed events: how what a handler yields becomes a run of AG-UI events, and how these are shown as text again."""
