"""The base of every contract: unknown fields are kept, so that old readers lose nothing that new writers sent."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """A pydantic model that keeps unknown fields."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", populate_by_name=True, ser_json_inf_nan="null")
