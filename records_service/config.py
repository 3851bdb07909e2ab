"""The settings of records_service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.process.config import BaseAddress, DatabaseConfig, Port


class Config(DatabaseConfig):
    """Addresses of the services that this one asks, besides what every service needs."""

    port: Port = 8082
    internal_port: Port = 9082
    auth_url: BaseAddress
    workflow_url: BaseAddress
    model_bytes_max: Annotated[int, Field(ge=1_024, le=1 << 40)] = 64 << 20
    import_bytes_max: Annotated[int, Field(ge=1_024, le=2 << 30)] = 2 << 30
    feed_days_kept: Annotated[float, Field(ge=7, le=30)] = 7.0
    followers_max: Annotated[int, Field(ge=1, le=100_000)] = 1_200
    import_days_kept: Annotated[float, Field(ge=0, le=3_650)] = 7.0
    model_objects_max: Annotated[int, Field(ge=1, le=10_000_000)] = 5_000
