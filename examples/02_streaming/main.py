"""An agent that streams: whatever a generator yields reaches the caller at once, as server-sent events.

    python examples/02_streaming/main.py
    curl -N localhost:8080/invocations -H 'Content-Type: application/json' -d '{"text": "To be, or not to be."}'
    curl localhost:8080/invocations --json '{"text": "To be, or not to be."}'

The first gets one event for each word, the second, because curl's --json accepts JSON only, everything in one list.
"""

import re
from collections.abc import Iterator
from typing import Any

from ppio_agent_runtime import PPIOAgentRuntimeApp, RequestContext

app = PPIOAgentRuntimeApp()


@app.entrypoint
def count_words(request: dict[str, Any], context: RequestContext) -> Iterator[dict[str, Any]]:
    seen: dict[str, int] = {}
    for word in re.findall(r"\w+", request.get("text", "").lower()):
        if context.cancelled:  # nobody listens any more
            return
        seen[word] = seen.get(word, 0) + 1
        yield {"word": word, "count": seen[word]}


if __name__ == "__main__":
    app.run()
