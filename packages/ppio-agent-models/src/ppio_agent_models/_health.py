"""The response of `GET /ping`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from ._base import Contract


class PingStatus(StrEnum):
    """The health of an agent: idle, at work, or unable to work."""

    HEALTHY = "Healthy"
    HEALTHY_BUSY = "HealthyBusy"
    UNHEALTHY = "Unhealthy"


class PingResponse(Contract):
    """The response of `GET /ping`. Fields that a custom ping handler added are kept.

    Attributes:
        status: Unhealthy comes with HTTP status 503, the others with 200.
        message: A sentence, mostly when something is wrong.
        time_of_last_update: When the status last changed, in unix seconds.
        timestamp: When this response was made, ISO 8601 in UTC.
    """

    status: PingStatus
    message: str | None = None
    time_of_last_update: int | None = None
    timestamp: datetime | None = None
