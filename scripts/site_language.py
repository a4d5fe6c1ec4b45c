"""Hook of MkDocs: pages below `zh/` say that they are Chinese, and have the theme's own words in Chinese."""

from __future__ import annotations

from typing import Any


def on_page_context(context: Any, /, *, page: Any, config: Any, **_: Any) -> Any:
    """Choose the theme's language for the page that is rendered next."""
    config.theme["language"] = "zh" if page.file.src_uri.startswith("zh/") else "en"
    return context
