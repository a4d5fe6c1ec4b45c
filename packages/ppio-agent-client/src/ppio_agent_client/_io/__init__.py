"""Time, locks, threads and tasks: the only pairs written by hand. `_async` is used by the source, `_sync` by its twin.

Both modules have the same names with the same meaning, so that the generated twin only swaps the import.
"""
