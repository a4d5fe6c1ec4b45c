"""Where log lines go when the service is run by us: standard error, one line each."""

from __future__ import annotations

import logging


def configure_logging(*, debug: bool) -> None:
    """Log to standard error, unless the program has set up logging itself. uvicorn's chatter at start is left out."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
