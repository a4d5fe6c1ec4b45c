"""An agent whose work takes long: it reports how far it is, and its callers may come and go.

python examples/09_long_job/main.py
python examples/09_long_job/caller.py http://localhost:8080
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ppio_agent_runtime import PPIOAgentRuntimeApp, RequestContext

app = PPIOAgentRuntimeApp()


@app.entrypoint
async def translate(request: dict[str, Any], context: RequestContext) -> AsyncIterator[str]:
    pages = request["pages"]
    for number, page in enumerate(pages, 1):
        await asyncio.sleep(0.05)  # where a model would be asked
        context.progress({"page": number, "of": len(pages)})
        yield page.upper()


if __name__ == "__main__":
    app.run()
