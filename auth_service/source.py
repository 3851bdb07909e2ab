"""The `source` of the events that auth_service publishes."""

from typing import Final

SOURCE: Final = "/auth_service"
