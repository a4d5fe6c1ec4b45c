"""Invocations: starts, runs, watches and stops them, keeps their events, and sends these to subscribers."""
