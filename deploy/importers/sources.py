"""The kinds of source that `make load` knows."""

from __future__ import annotations

from pathlib import Path

from deploy.importers.akeneo.source import AKENEO
from deploy.importers.magento.source import MAGENTO
from deploy.importers.opendb.source import OPENDB
from deploy.importers.source import Source

SOURCES: tuple[Source, ...] = (AKENEO, MAGENTO, OPENDB)


def source_of(folder: Path) -> Source | None:
    """The kind that a folder looks like, or None."""
    return next((source for source in SOURCES if source.recognizes(folder)), None)
