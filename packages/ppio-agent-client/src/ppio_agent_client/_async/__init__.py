"""The source of the client, written with async and await; `scripts/unasync.py` generates `_sync` from it."""
