"""The base class of all wire models. It keeps unknown fields, so an old reader loses nothing that a newer one sent."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """A pydantic model that keeps unknown fields."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", populate_by_name=True, ser_json_inf_nan="null")
