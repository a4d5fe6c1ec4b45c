"""docs/kubernetes.md: its manifests are what Kubernetes takes, and their numbers fit the agent that they start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.invocations.manager import SHUTDOWN_GRACE_SECONDS  # private: how long callers are told
from ppio_agent_runtime.testing import running
from tests.support.raw_http import get, invoke

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kubernetes.md"
VERSIONS = ["1.30", "1.33"]


def manifests() -> list[dict[str, Any]]:
    """Return the documents of the page's manifest."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return list(yaml.safe_load_all(text))


def named(kind: str, name: str = "weather") -> dict[str, Any]:
    (found,) = [each for each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = named("Deployment")["spec"]["template"]["spec"]
    return spec


def variables() -> dict[str, str]:
    """Return the environment of the agent; what comes out of a secret is a word."""
    (container,) = pod()["containers"]
    return {each["name"]: each.get("value", "secret") for each in container["env"]}


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> AgentConfig:
    for name, value in variables().items():
        monkeypatch.setenv(name, value)
    config = AgentConfig()
    assert config.unknown_variables(frozenset()) == []
    return config


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_document(version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    assert len(manifests()) == 6
    for document in manifests():
        validator.validate(document, version, strict=True)


def test_what_kubernetes_does_not_know_is_refused() -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    wrong = named("Deployment")
    wrong["spec"]["template"]["spec"]["containers"][0]["readinessProb"] = {}
    with pytest.raises(validator.ValidationError):
        validator.validate(wrong, VERSIONS[0], strict=True)


def test_selectors_ports_and_names_fit_together() -> None:
    for name in ("weather", "weather-redis"):
        deployment, service = named("Deployment", name), named("Service", name)
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert [port["name"] for port in container["ports"]] == [
            port["targetPort"] for port in service["spec"]["ports"]
        ]
    assert named("PodDisruptionBudget")["spec"]["selector"] == named("Deployment")["spec"]["selector"]
    assert named("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "weather"


def test_a_pod_has_time_to_drain(config: AgentConfig) -> None:
    (container,) = pod()["containers"]
    drains = container["lifecycle"]["preStop"]["sleep"]["seconds"] + config.shutdown_grace_seconds
    assert pod()["terminationGracePeriodSeconds"] > drains + SHUTDOWN_GRACE_SECONDS


def test_probes_wait_for_the_agents_own_answer(config: AgentConfig) -> None:
    (container,) = pod()["containers"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[kind]["timeoutSeconds"] > config.ping_timeout_seconds
        assert container[kind]["httpGet"] == {"path": "/ping", "port": "http"}
    liveness = container["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > config.shutdown_grace_seconds
    assert container["ports"] == [{"name": "http", "containerPort": config.port}]


def test_the_settings_are_what_the_page_says(config: AgentConfig) -> None:
    assert config.rate_limit is not None
    assert config.rate_limit.storage_uri == "redis://weather-redis:6379/0"
    assert config.event_store == "redis://weather-redis:6379/0?prefix=weather"
    (metric,) = named("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert config.max_concurrency is not None
    assert int(metric["pods"]["target"]["averageValue"]) < config.max_concurrency


def test_the_autoscaler_counts_what_the_agent_shows(config: AgentConfig) -> None:
    app = PPIOAgentRuntimeApp(config.replace(rate_limit=None, event_store=None, port=0))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> int:
        return 1

    annotations = named("Deployment")["spec"]["template"]["metadata"]["annotations"]
    (metric,) = named("HorizontalPodAutoscaler")["spec"]["metrics"]
    with running(app) as url:
        assert invoke(url, {}, {"X-API-KEY": "secret"}).result == 1
        shown = get(url, annotations["prometheus.io/path"]).body.decode()  # without a key, as Prometheus asks
    assert re.search(rf"^{metric['pods']['metric']['name']} \d", shown, re.MULTILINE)
