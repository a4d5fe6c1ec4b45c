"""The base of every contract: what is unknown is kept, so that an older reader loses nothing of a newer writer."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """A pydantic model that keeps fields it does not know."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, ser_json_inf_nan="null")
