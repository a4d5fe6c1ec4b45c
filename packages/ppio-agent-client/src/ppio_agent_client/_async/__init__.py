"""The client as it is written: once, with async and await. `_sync` is generated from it by `scripts/unasync.py`."""
