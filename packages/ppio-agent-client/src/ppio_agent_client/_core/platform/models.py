"""The responses of the PPIO platform's control plane: sandboxes, templates, logs.

Unknown fields are ignored, and a field of an unexpected type counts as missing. It is only an error if a sandbox ID is
missing, or can't be part of a host name, because tokens are sent there.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    OnErrorOmit,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.alias_generators import to_camel

import ppio_agent_models as models
from ppio_agent_models import PlatformError

from ..._sandbox import LogPage
from .. import json_codec
from .labels import Labels, read_labels
from .urls import DOMAIN_PATTERN

PAGE_SIZE: Final = 100
"""Sandboxes or templates in one response; the platform's maximum."""
MAX_START_SECONDS: Final = 3600
"""The longest start timeout in a manifest."""
_AGENT_METADATA = "agent_runtime"
"""The metadata field where the vendor's command line stores an agent's manifest, as a JSON string."""
_BUILD_STATES = dict.fromkeys(("ready", "uploaded", "success"), "deployed") | {"error": "failed", "waiting": "building"}
_HOST_LABEL = r"^[A-Za-z0-9_-]+$"
_EPOCH = datetime.fromtimestamp(0, UTC)

T = TypeVar("T")


def _or(default: object) -> WrapValidator:
    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            return default

    return WrapValidator(validate)


def _state(value: object) -> str:
    return "paused" if isinstance(value, str) and value.lower() in {"paused", "pausing"} else "running"


Lenient = Annotated[T | None, _or(None)]
"""The value if it has this type, else None."""
_Object = BeforeValidator(lambda value: value if isinstance(value, dict) else {})
_Text = Annotated[str, Field(min_length=1)]
_Texts = Annotated[list[OnErrorOmit[str]], BeforeValidator(lambda value: value if isinstance(value, list) else [])]
_TextOrNone = BeforeValidator(lambda value: value if isinstance(value, str) and value else None)
_Moment = Annotated[
    datetime, Strict(strict=False), AfterValidator(lambda when: when if when.tzinfo else when.replace(tzinfo=UTC))
]


class Answer(BaseModel):
    """Base class of the platform's responses: names in camel case, strict types."""

    model_config = ConfigDict(
        strict=True, frozen=True, alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True
    )


class PlatformSandbox(Answer):
    """A sandbox, with the fields of one response.

    Attributes:
        client_id: The second part of its ID in the older API.
        alias: The template's other name.
        domain: Domain of its addresses; None for the configured one. Lists have no domain and no tokens.
        envd_token: The token for its envd; None if it requires none.
        traffic_token: The token for its other addresses; None if they are public.
        labels: The labels of this SDK in its metadata; None for other sandboxes.
        ends_at: When it expires.
    """

    sandbox_id: str = Field(alias="sandboxID", pattern=_HOST_LABEL)
    client_id: Lenient[Annotated[str, Field(pattern=_HOST_LABEL)]] = Field(None, alias="clientID")
    template_id: Lenient[_Text] = Field(None, alias="templateID")
    alias: Lenient[_Text] = None
    domain: Annotated[str | None, Field(pattern=DOMAIN_PATTERN), _TextOrNone] = None
    envd_token: Lenient[_Text] = Field(None, alias="envdAccessToken", repr=False)
    envd_version: Lenient[_Text] = None
    traffic_token: Lenient[_Text] = Field(None, alias="trafficAccessToken", repr=False)
    labels: Annotated[Labels | None, BeforeValidator(read_labels)] = Field(None, alias="metadata")
    state: Annotated[Literal["running", "paused"], BeforeValidator(_state)] = "running"
    started_at: Annotated[_Moment, _or(_EPOCH)] = _EPOCH
    ends_at: Lenient[_Moment] = Field(None, alias="endAt")

    def is_made_from(self, template: str) -> bool:
        """Return whether `template` is a name of its template."""
        return template in {self.template_id, self.alias, self.labels.template if self.labels else None}


def read_sandbox(value: object, *, is_legacy: bool) -> PlatformSandbox:
    """Return the sandbox in a response.

    Raises:
        PlatformError: Its ID is missing, or can't be part of a host name; the message names the field.
    """
    try:
        sandbox = PlatformSandbox.model_validate(value if isinstance(value, dict) else {})
    except ValidationError as error:
        names = " and ".join(str(each["loc"][0]) for each in error.errors(include_input=False, include_url=False))
        raise PlatformError(f"the platform's response has no valid {names}; is base_url the URL of its API?") from error
    client_id = sandbox.client_id
    if is_legacy and client_id and not sandbox.sandbox_id.endswith(f"-{client_id}"):
        # Addresses of the older API have both.
        return sandbox.model_copy(update={"sandbox_id": f"{sandbox.sandbox_id}-{client_id}"})
    return sandbox


def read_sandboxes(value: object, *, is_legacy: bool) -> list[PlatformSandbox]:
    """Return the sandboxes of this SDK in one page of a list."""
    items = value.get("sandboxes") if isinstance(value, dict) else value
    ours = [each for each in (items if isinstance(items, list) else ()) if _is_ours(each)]
    return [read_sandbox(each, is_legacy=is_legacy) for each in ours]


def _is_ours(item: object) -> bool:
    return isinstance(item, dict) and bool(item.get("sandboxID")) and read_labels(item.get("metadata")) is not None


def oldest_first(sandboxes: Iterable[PlatformSandbox]) -> list[PlatformSandbox]:
    """Return the sandboxes in an order that is the same in every process."""
    return sorted(sandboxes, key=lambda each: (each.started_at, each.sandbox_id))


class TemplateManifest(Answer):
    """The manifest in a template's metadata; invalid fields are ignored, because other tools write it too."""

    name: Lenient[_Text] = Field(None, validation_alias=AliasPath("metadata", "name"))
    version: Lenient[_Text] = Field(None, validation_alias=AliasPath("metadata", "version"))
    description: Lenient[_Text] = Field(None, validation_alias=AliasPath("metadata", "description"))
    author: Lenient[_Text] = Field(None, validation_alias=AliasPath("metadata", "author"))
    tags: _Texts = Field([], validation_alias=AliasPath("metadata", "tags"))
    entrypoint: Lenient[_Text] = Field(None, validation_alias=AliasPath("spec", "entrypoint"))
    env_vars: Annotated[dict[str, OnErrorOmit[str]], _Object] = Field({}, validation_alias=AliasPath("spec", "envVars"))
    protocols: _Texts = Field([], validation_alias=AliasPath("spec", "protocols"))
    start_timeout: Lenient[Annotated[float, Field(ge=1, le=MAX_START_SECONDS)]] = Field(
        None, validation_alias=AliasPath("spec", "runtime", "timeout")
    )
    phase: Lenient[_Text] = Field(None, validation_alias=AliasPath("status", "phase"))


def manifest_of(metadata: dict[str, Any]) -> TemplateManifest:
    """Return the manifest in a template's metadata, which is a JSON string or an object; an empty one if missing."""
    value = metadata.get(_AGENT_METADATA)
    try:
        return TemplateManifest.model_validate(json_codec.load(value) if isinstance(value, str) else value)
    except ValueError:
        return TemplateManifest.model_validate({})


class _PlatformTemplate(Answer):
    template_id: _Text = Field(alias="templateID")
    aliases: _Texts = []
    names: _Texts = []
    description: Lenient[_Text] = None
    creator: Lenient[_Text] = Field(None, validation_alias=AliasPath("createdBy", "email"))
    tags: _Texts = []
    created_at: Lenient[_Moment] = None
    updated_at: Lenient[_Moment] = None
    build_status: Lenient[_Text] = None
    status: Lenient[_Text] = None
    metadata: Annotated[dict[str, Any], _Object] = {}
    cpu_count: Lenient[int] = None
    memory_mb: Lenient[int] = Field(None, alias="memoryMB")

    def public(self) -> models.AgentTemplate:
        manifest = manifest_of(self.metadata)
        aliases = self.aliases or self.names
        status = (self.build_status or self.status or manifest.phase or "deployed").lower()
        return models.AgentTemplate(
            template_id=self.template_id,
            name=manifest.name or next(iter(aliases), self.template_id),
            version=manifest.version or "1.0.0",
            description=manifest.description or self.description,
            author=manifest.author or self.creator,
            tags=manifest.tags or self.tags,
            created_at=self.created_at,
            updated_at=self.updated_at,
            status=_BUILD_STATES.get(status, status),
            metadata=self.metadata,
            aliases=aliases,
            cpu_count=self.cpu_count,
            memory_mb=self.memory_mb,
            protocols=manifest.protocols,
        )


_TEMPLATES = TypeAdapter(list[OnErrorOmit[_PlatformTemplate]])


def read_templates(value: object) -> list[models.AgentTemplate]:
    """Return the templates in one response; items without an ID are ignored."""
    items = value.get("templates") if isinstance(value, dict) else value
    return [each.public() for each in _TEMPLATES.validate_python(items if isinstance(items, list) else [])]


def is_last_page(value: object, page: int) -> bool:
    """Return whether `page`, counted from 1, is the last page of templates."""
    if not isinstance(value, dict):
        return True
    total = value.get("totalPages")
    return page >= total if isinstance(total, int) else len(value.get("templates") or ()) < PAGE_SIZE


def find_template(name: str, templates: Iterable[models.AgentTemplate]) -> models.AgentTemplate | None:
    """Return the template with this name.

    The name may be the platform's ID, an alias, or a name that the vendor's tools give an agent: `<name with _ for ->-
    <ID>`, or an ARN that ends in `agent/` and one of these.
    """
    known = list(templates)
    name = name.rpartition("/")[2] if name.startswith("arn:") else name
    head, hyphen, tail = name.rpartition("-")
    return (
        next((each for each in known if each.template_id == name), None)
        or next((each for each in known if name in each.aliases), None)
        or next((each for each in known if hyphen and each.template_id == tail and _is_called(each, head)), None)
    )


def _is_called(template: models.AgentTemplate, vendor_name: str) -> bool:
    return vendor_name in {each.replace("-", "_") for each in (template.name, *template.aliases)}


class _LogEntry(Answer):
    timestamp: _Moment
    output: Lenient[str] = Field(None, validation_alias=AliasPath("fields", "data"))
    line: Lenient[str] = None
    message: Lenient[str] = None

    @property
    def milliseconds(self) -> int:
        return int(self.timestamp.timestamp() * 1000)

    @property
    def text(self) -> str:
        """The output of a process, unchanged; envd sends it in pieces, which may end within a line."""
        output = self._output_in_line() if self.output is None else self.output
        if output is not None:
            return output
        text = (self.line if self.message is None else self.message) or ""
        return text if not text or text.endswith("\n") else f"{text}\n"

    def _output_in_line(self) -> str | None:
        """Return the output from a response of the older API, where the line is a JSON record of envd."""
        if self.line is None or not self.line.startswith("{"):
            return None
        try:
            data = json_codec.load(self.line).get("data")
        except ValueError:
            return None
        return data if isinstance(data, str) else None


_LOG = TypeAdapter(list[OnErrorOmit[_LogEntry]])


def log_position(cursor: str | None) -> tuple[int, int]:
    """Return the start of a page, in unix milliseconds, and how many lines of that millisecond are already known."""
    when, _, known = (cursor or "").partition(":")
    return (int(when), int(known)) if when.isdecimal() and known.isdecimal() else (0, 0)


def read_log(value: object, cursor: str | None) -> LogPage:
    """Return the lines of a response after `cursor`.

    Lines have no numbers, so the cursor is the time of the last line, and how many lines had that time.
    """
    begin, known = log_position(cursor)
    entries = (value.get("logEntries") or value.get("logs")) if isinstance(value, dict) else None
    lines = _LOG.validate_python(entries if isinstance(entries, list) else [])
    lines.sort(key=lambda line: line.milliseconds)  # stable: lines of one moment stay in order
    fresh = [line for line in lines if line.milliseconds >= begin]
    fresh = fresh[min(known, sum(line.milliseconds == begin for line in fresh)) :]
    if not fresh:
        return LogPage(text="", cursor=f"{begin}:{known}")
    last = fresh[-1].milliseconds
    count = sum(line.milliseconds == last for line in fresh) + (known if last == begin else 0)
    return LogPage(text="".join(line.text for line in fresh), cursor=f"{last}:{count}")
