"""The kinds of source that `make load` knows; what looks like none of the others may be tables."""

from __future__ import annotations

from pathlib import Path

from deploy.importers.akeneo.source import AKENEO
from deploy.importers.magento.source import MAGENTO
from deploy.importers.opendb.source import OPENDB
from deploy.importers.source import Source
from deploy.importers.tables.source import TABLES

SOURCES: tuple[Source, ...] = (AKENEO, MAGENTO, OPENDB, TABLES)


def source_of(folder: Path) -> Source | None:
    """The kind that a folder looks like, or None."""
    return next((source for source in SOURCES if source.recognizes(folder)), None)
