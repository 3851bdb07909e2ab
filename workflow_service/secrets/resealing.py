"""Seals stored secrets anew after a new key came first, so that the old one can be removed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import Gauge

from shared.database import DATABASE, Database
from shared.errors import ApiError
from workflow_service.secrets import store
from workflow_service.secrets.columns import COLUMNS, SealedColumn
from workflow_service.secrets.vault import VAULT, CannotOpen, Place, Vault

REPEATED_S: Final = 600.0
"""While processes are replaced, older ones still seal with the former key."""
PAGE: Final = 200

OLD: Final = Gauge(
    "sigma_secrets_old", "Secrets that the first key of SIGMA_SECRET_KEYS could not seal anew"
)

log = structlog.get_logger(__name__)


async def reseal(
    database: Database, vault: Vault, columns: Sequence[SealedColumn]
) -> tuple[int, int]:
    """How many secrets were sealed anew, and how many could not be opened."""
    resealed, unopened = 0, 0
    for where in columns:
        after = ("", "")
        while True:
            async with database.acquire() as conn:
                rows = await store.page(conn, where, after, PAGE)
                for row in rows:
                    if row["sealed"].startswith(vault.prefix):
                        continue
                    place = Place(row["workspace_id"], where.kind, row["id"])
                    try:
                        sealed = vault.seal(vault.open(row["sealed"], place), place)
                    except CannotOpen as error:
                        unopened += 1
                        log.error(  # noqa: TRY400 - the cause says all
                            "secret_not_opened",
                            kind=where.kind,
                            workspace_id=place.workspace_id,
                            owner_id=place.owner_id,
                            error=str(error),
                        )
                        continue
                    resealed += await store.replace(
                        conn, where, place.workspace_id, place.owner_id, row["sealed"], sealed
                    )
            if len(rows) < PAGE:
                break
            after = (rows[-1]["workspace_id"], rows[-1]["id"])
    return resealed, unopened


async def resealing(app: web.Application) -> AsyncIterator[None]:
    """Seal old secrets anew while the service runs."""
    task = asyncio.create_task(_repeat(app), name="resealing")
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _repeat(app: web.Application) -> None:
    while True:
        await app[DATABASE].migrated.wait()
        try:
            resealed, unopened = await reseal(app[DATABASE], app[VAULT], COLUMNS)
        except ApiError as error:
            log.warning("resealing_interrupted", error=error.message)
        except Exception:
            log.exception("resealing_failed")
        else:
            OLD.set(unopened)
            if resealed:
                log.info("secrets_resealed", count=resealed)
        await asyncio.sleep(REPEATED_S)
