"""`ppio-agent chat`: a conversation with an agent, in the terminal or through a pipe."""

from __future__ import annotations

from typing import Annotated

import typer

from ..asking import Target, check_together, client_for
from ..conversation import Conversation
from ..inputs import headers_of, variables_of
from ..options import AnyTemplateId, EnvFile, EnvVars, Headers, Local, SessionId, Token, Url, UserId
from ..targets import template_here

_LIFE_SECONDS = 3600.0

app: typer.Typer = typer.Typer(add_completion=False)

Life = Annotated[
    float, typer.Option("--life", min=1, metavar="SECONDS", help="Time to live of a new sandbox.", show_default="3600")
]


@app.command()
def chat(
    template_id: AnyTemplateId = None,
    session_id: SessionId = None,
    env: EnvVars = None,
    env_file: EnvFile = None,
    life: Life = _LIFE_SECONDS,
    local: Local = False,
    url: Url = None,
    token: Token = None,
    user_id: UserId = None,
    header: Headers = None,
) -> None:
    """Talk to an agent in the terminal.

    Answers are shown as they arrive. Ctrl-C cancels an answer; pressed again, it ends the conversation. /help lists the
    commands. In a pipe, each line is a message. Without --session-id, the sandbox is closed at the end.
    """
    check_together(url, {"--template-id": template_id, "--local": local, "--env": env})
    if template_id is None and session_id is None and url is None:
        template_id = template_here(local)
    variables, headers = variables_of(env, env_file), headers_of(header)
    target = Target(template_id, session_id, variables, False, life, local, url, token, user_id, headers, "chat")
    with client_for(target) as client, Conversation(client, target) as conversation:
        conversation.hold()
