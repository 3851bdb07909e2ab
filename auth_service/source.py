"""How auth_service signs the news it tells."""

from typing import Final

SOURCE: Final = "/auth_service"
