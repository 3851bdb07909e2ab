"""What becomes of imports by and by: files are deleted or closed, forgotten imports are started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog
from aiohttp import web

from records_service.imports import lanes
from records_service.imports.job_commands import sweep
from records_service.imports.unpacking import Spreadsheets
from shared.database import DATABASE, Database
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.messaging.connection import cancel_all

log = structlog.get_logger(__name__)

EVERY_S: Final = 600.0


def sweeping(
    kept_days: float, spreadsheets: Spreadsheets
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Delete files so many days after their job ended, while the service runs."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(
            _sweep(app[DATABASE], kept_days, spreadsheets), name="import files"
        )
        yield
        await cancel_all(task)

    return opened


async def _sweep(database: Database, kept_days: float, spreadsheets: Spreadsheets) -> None:
    while True:
        await database.migrated.wait()
        try:
            spreadsheets.close_abandoned()
            forgotten = await lanes.fill_forgotten(database)
            if forgotten:
                log.warning("forgotten_imports_started", workspaces=forgotten)
            deleted = await sweep(database, kept_days=kept_days)
            if deleted:
                log.info("import_files_deleted", files=deleted)
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("imports_not_swept")
        await asyncio.sleep(EVERY_S)
