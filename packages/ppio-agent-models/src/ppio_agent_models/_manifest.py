"""The manifest, `.ppio-agent.yaml`: the name of an agent, how it starts, and how long that may take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from ._base import Contract
from ._entrypoint import is_entrypoint, variables_of
from ._errors import ConfigurationError
from ._template import AgentMetadata

_NAME_RULE = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_NULLS: Final = ("null", "~")
_NEAR: Final = 0.5
"""How similar (`difflib`) an unknown field must be to a known one to be taken for a typing error."""


class _ManifestPart(Contract):
    """A part of the manifest. A field that is written without a value, or as null, has its default."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        may_be_none = {name for name, about in cls.model_fields.items() if about.default is None}
        return {
            key: item for key, item in value.items() if item is not None and not (key in may_be_none and item in _NULLS)
        }


class ManifestMetadata(AgentMetadata, _ManifestPart):
    """Name and description of the agent; a name is 1 to 63 lower-case letters, digits and inner hyphens."""

    name: Annotated[str, StringConstraints(pattern=_NAME_RULE)]
    created: str | None = None


class ManifestRuntime(_ManifestPart):
    """What the agent needs from its sandbox.

    Attributes:
        timeout: Longest time from start to a healthy `/ping`, in seconds, 1 to 3600.
        memory_limit: Such as `"512Mi"` or `"1Gi"`.
        cpu_limit: Such as `"1"` or `"1000m"`.
    """

    timeout: int = Field(default=300, ge=1, le=3600)
    memory_limit: Annotated[str, StringConstraints(pattern=r"^[0-9]+(Mi|Gi)$")] | None = None
    cpu_limit: Annotated[str, StringConstraints(pattern=r"^[0-9]+m?$")] | None = None


class ManifestSpec(_ManifestPart):
    """How the agent starts.

    Attributes:
        entrypoint: A Python file inside the agent's folder, or `module:app`.
        env_vars: Environment of the agent's process. No secrets: the file is part of the template.
        protocols: Protocols to serve in addition to our own, such as `["ag-ui", "openai"]`, or `["all"]`; this
            becomes `PPIO_AGENT_PROTOCOLS`.
    """

    entrypoint: str
    protocols: list[str] = Field(default_factory=list)
    env_vars: dict[str, str] = Field(
        default_factory=dict,
        validation_alias=AliasChoices("envVars", "env_vars"),
        serialization_alias="envVars",
        repr=False,
    )
    runtime: ManifestRuntime = Field(default_factory=ManifestRuntime)

    @property
    def variables(self) -> dict[str, str]:
        """The environment that the manifest gives to the agent: `protocols` and `env_vars`, which win."""
        return variables_of(self.protocols, self.env_vars)

    @field_validator("protocols", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("entrypoint")
    @classmethod
    def _inside_the_folder(cls, value: str) -> str:
        if not is_entrypoint(value):
            raise ValueError("must be a .py file inside the agent's folder, such as 'main.py', or 'module:app'")
        return value


class AgentManifest(_ManifestPart):
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
        """Return the manifest written in `text`, which is YAML (or JSON) of at most 64 KiB.

        Every scalar is read as text, so that environment variables arrive as they are written.

        Args:
            text: The file's content.
            source: What to call the file in an error.

        Raises:
            ConfigurationError: It is not valid YAML, or a field is missing or wrong; the message names each one.
        """
        return cls.from_document(ManifestDocument.parse(text, source=source))

    @classmethod
    def from_document(cls, document: ManifestDocument) -> Self:
        """Return the manifest in a document.

        Raises:
            ConfigurationError: A field is missing or wrong; the message names each one, `__cause__` is pydantic's.
        """
        try:
            return cls.model_validate(document.value)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}" for problem in error.errors()
            )
            raise ConfigurationError(f"{document.source} is not a valid agent manifest: {problems}") from error


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field of a manifest that this version doesn't know.

    Attributes:
        path: The keys that lead to it.
        line: The line it is on, from 1.
        known: The fields that are allowed there.
    """

    path: tuple[str, ...]
    line: int
    known: tuple[str, ...]

    @property
    def nearest(self) -> str | None:
        """The known field that was probably meant."""
        return next(iter(get_close_matches(self.path[-1], self.known, n=1, cutoff=_NEAR)), None)

    def __str__(self) -> str:
        hint = f"did you mean {self.nearest!r}?" if self.nearest else f"known here: {', '.join(sorted(self.known))}"
        return f"unknown field {'.'.join(self.path)!r}, ignored; {hint}"


@dataclass(frozen=True, slots=True)
class ManifestDocument:
    """A manifest as it is written, whether or not its fields are valid.

    Attributes:
        value: Dicts, lists and strings; None where nothing is written.
        source: What to call the file.
    """

    value: Any
    source: str
    _lines: dict[tuple[str, ...], int] = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, source: str = "the manifest") -> Self:
        """Return the document in `text`.

        Raises:
            ConfigurationError: It is not valid YAML, is larger than 64 KiB, or uses a feature that manifests don't
                support; the message has source, line and column.
        """
        from ._yaml import read_yaml  # Imports PyYAML.

        value, lines = read_yaml(text, source=source)
        return cls(value, source, lines)

    def line_of(self, path: Sequence[str | int]) -> int:
        """Return the line of a key, from 1; if there is no such key, of the closest key above it in the path."""
        known = tuple(map(str, path))
        while known and known not in self._lines:
            known = known[:-1]
        return self._lines[known]

    def unknown_fields(self) -> list[UnknownField]:
        """Return the fields that `AgentManifest` doesn't have, in the order in which they are written."""
        return list(self._unknown(AgentManifest, self.value, ()))

    def _unknown(self, model: type[BaseModel], value: Any, path: tuple[str, ...]) -> Iterator[UnknownField]:
        fields = _fields(model)
        for key, item in value.items() if isinstance(value, dict) else ():
            here = (*path, key)
            if key not in fields:
                yield UnknownField(here, self.line_of(here), _written_names(model))
            elif (inner := fields[key]) is not None:
                yield from self._unknown(inner, item, here)


def _fields(model: type[BaseModel]) -> dict[str, type[BaseModel] | None]:
    """Return the keys that a model reads, in both spellings, each with the model of its value if it has one."""
    found: dict[str, type[BaseModel] | None] = {}
    for name, about in model.model_fields.items():
        kind = about.annotation
        inner = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        found[about.serialization_alias or name] = found[name] = inner
    return found


def _written_names(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(about.serialization_alias or name for name, about in model.model_fields.items())
