"""The OpenAPI document against the service that it describes: whatever is sent, the answer is a documented one."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel, ConfigDict

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RateLimit
from ppio_agent_runtime.testing import running

pytestmark = pytest.mark.contract

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed; it brings httpx along")
openapi_checks = pytest.importorskip("schemathesis.specs.openapi.checks")


class Question(BaseModel):
    model_config = ConfigDict(strict=True)  # pydantic would take false for 0.0, its schema does not

    prompt: str
    temperature: float = 0.5
    tags: list[str] = []


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("kind", ["value", "stream"])
@pytest.mark.slow
def test_every_answer_is_one_that_the_document_names(kind: str, limited: bool) -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(debug=True, rate_limit=RateLimit(5, 3600) if limited else None))
    logging.getLogger("urllib3").setLevel(logging.WARNING)

    def value(question: Question) -> dict[str, Any]:
        return question.model_dump()

    def stream(question: Question) -> Any:
        yield question.prompt
        yield question.tags

    # A timeout of almost nothing is a documented 504, and no schema can say that a session id is percent-encoded UTF-8.
    excluded = [schemathesis.checks.not_a_server_error, openapi_checks.positive_data_acceptance]
    app.entrypoint({"value": value, "stream": stream}[kind])
    with running(app) as url:
        document = schemathesis.openapi.from_url(f"{url}/openapi.json")
        operations = [found.ok() for found in document.get_all_operations()]
        assert {(operation.method, operation.path) for operation in operations} >= {
            ("post", "/invocations"),
            ("get", "/ping"),
        }
        for operation in operations:
            modes = (operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode)
            valid, invalid = modes

            @given(case=valid | invalid)
            @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            def answers_as_documented(case: Any) -> None:
                response = case.call()
                assert response.status_code != 500
                case.validate_response(response, excluded_checks=excluded)

            answers_as_documented()
