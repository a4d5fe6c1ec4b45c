"""OpenAI's APIs: `/v1/responses`, `/v1/chat/completions`, `/v1/models`.

The model's name is `agent_name`; a request's `model` is returned, but has no effect. Tools in a request are the
caller's: the agent may call one, and the caller sends its result with the next request.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ppio_agent_models import NotFoundError

from .openai_chat import ChatCompletions
from .openai_responses import Responses

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from ..plugin_interface import PluginInterface

_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def install(app: PluginInterface, path: str) -> None:
    """Add the routes below a path."""
    started = int(time.time())
    model = {"id": app.config.agent_name, "object": "model", "created": started, "owned_by": "ppio-agent-runtime"}

    async def models(request: Request) -> Response:
        return app.json_response({"object": "list", "data": [model]}, app.context_for(request), has_invocation=False)

    async def one_model(request: Request) -> Response:
        given = request.path_params["model"]
        if given != model["id"]:
            raise NotFoundError(f"The model {given[:80]!r} does not exist; there is {model['id']!r}.")
        return app.json_response(model, app.context_for(request), has_invocation=False)

    responses = Responses(app)
    app.add_route(f"{path}/models", models, ["GET"])
    app.add_route(f"{path}/models/{{model}}", one_model, ["GET"])
    app.add_route(f"{path}/chat/completions", ChatCompletions(app).create)
    app.add_route(f"{path}/responses", responses.create)
    app.add_route(f"{path}/responses/{{id}}", responses.retrieve, ["GET"])
    app.add_route(f"{path}/responses/{{id}}/cancel", responses.cancel)
    app.write_errors(path, error_body)


def error_body(status: int, envelope: dict[str, Any]) -> bytes:
    """Return an error in the format of these APIs."""
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return to_json(
        {"error": {"message": envelope["error"], "type": kind, "param": None, "code": envelope["error_type"]}}
    )
