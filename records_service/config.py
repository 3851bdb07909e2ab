"""The settings of records_service."""

from __future__ import annotations

from pydantic import AnyHttpUrl

from shared.config import DatabaseConfig


class Config(DatabaseConfig):
    """Addresses of the services that this one asks, besides what every service needs."""

    auth_url: AnyHttpUrl
    workflow_url: AnyHttpUrl
