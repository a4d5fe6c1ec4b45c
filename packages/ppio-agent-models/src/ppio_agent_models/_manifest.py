"""`.ppio-agent.yaml`: what an agent is called, how it starts, how long it may take to."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Field, StringConstraints, ValidationError, field_validator

from ._base import Contract
from ._entrypoint import is_entrypoint
from ._errors import ConfigurationError
from ._template import AgentMetadata
from ._yaml import read_yaml

_NAME_RULE = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class ManifestMetadata(AgentMetadata):
    """Who the agent is; a name is 1 to 63 lower-case letters, digits and inner hyphens."""

    name: Annotated[str, StringConstraints(pattern=_NAME_RULE)]
    created: str | None = None


class ManifestRuntime(Contract):
    """What the agent asks of its sandbox.

    Attributes:
        timeout: Longest time from start to a healthy `/ping`, in seconds, 1 to 3600.
        memory_limit: Such as `"512Mi"` or `"1Gi"`.
        cpu_limit: Such as `"1"` or `"1000m"`.
    """

    timeout: int = Field(default=300, ge=1, le=3600)
    memory_limit: Annotated[str, StringConstraints(pattern=r"^[0-9]+(Mi|Gi)$")] | None = None
    cpu_limit: Annotated[str, StringConstraints(pattern=r"^[0-9]+m?$")] | None = None

    @field_validator("cpu_limit", "memory_limit", mode="before")
    @classmethod
    def _number_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class ManifestSpec(Contract):
    """How the agent starts.

    Attributes:
        entrypoint: A Python file inside the agent's folder, or `module:app`.
        env_vars: Environment of the agent's process. No secrets: the file is part of the template.
    """

    entrypoint: str
    env_vars: dict[str, str] = Field(
        default_factory=dict,
        validation_alias=AliasChoices("envVars", "env_vars"),
        serialization_alias="envVars",
        repr=False,
    )
    runtime: ManifestRuntime = Field(default_factory=ManifestRuntime)

    @field_validator("entrypoint")
    @classmethod
    def _inside_the_folder(cls, value: str) -> str:
        if not is_entrypoint(value):
            raise ValueError("must be a .py file inside the agent's folder, such as 'main.py', or 'module:app'")
        return value

    @field_validator("env_vars", mode="before")
    @classmethod
    def _integers_as_text(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if unclear := [name for name, item in value.items() if isinstance(item, bool | float)]:
            # `1.10` has become 1.1 and `yes` may mean anything by now; only the writer knows.
            raise ValueError(f"quote the value of {', '.join(map(repr, unclear))}, so that it arrives as it is written")
        return {name: str(item) if isinstance(item, int) else item for name, item in value.items()}


class AgentManifest(Contract):
    """The whole file. `status` belongs to the tools that deploy; people write the rest."""

    api_version: str = Field(
        default="v1", validation_alias=AliasChoices("apiVersion", "api_version"), serialization_alias="apiVersion"
    )
    kind: Literal["Agent"] = "Agent"
    metadata: ManifestMetadata
    spec: ManifestSpec
    status: dict[str, Any] | None = None

    @classmethod
    def from_yaml(cls, text: str, *, source: str = "the manifest") -> Self:
        """Return the manifest written in `text`.

        Args:
            text: The file's content, in the plain part of YAML that `_yaml` reads.
            source: What to call the file in an error.

        Raises:
            ConfigurationError: It is not readable, or a field is missing or wrong; the message names each one.
        """
        try:
            return cls.model_validate(read_yaml(text, source=source))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}" for problem in error.errors()
            )
            raise ConfigurationError(f"{source} is not a valid agent manifest: {problems}") from error
