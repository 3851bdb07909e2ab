"""Does one run: streams the records of its creator into a file at the destination."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from aiohttp import web

from shared.errors import ApiError, PermissionDenied, ServiceUnavailable, UpstreamTimeout, truncated
from shared.process.offload import in_thread
from workflow_service import acting
from workflow_service.clients import RECORDS
from workflow_service.destinations import DeliveryFailed, File, opened
from workflow_service.export_jobs import destination as destinations
from workflow_service.export_jobs.commands import export_path
from workflow_service.export_runs.model import ERROR_LENGTH_MAX, PATH_LENGTH_MAX, Claim, Done
from workflow_service.formats import (
    Compression,
    CutOff,
    Format,
    Writer,
    file_name,
    media_type,
    writer,
)
from workflow_service.holds import Hold
from workflow_service.outbound.client import OUTBOUND
from workflow_service.secrets.vault import VAULT, CannotOpen, Place

RUN_S_MAX: Final = 2 * 3600.0
"""A destination that is slower might keep a place for ever."""
IN_THREAD_BYTES_MIN: Final = 4 << 10
"""A smaller piece takes less time than the way to a thread and back."""


class Interrupted(Exception):
    """Another service is away, or others wait. The run can be started anew."""


async def export(app: web.Application, claim: Claim, hold: Hold) -> Done:
    """The file, or why there is none. Nothing is visible at the destination before the end.

    Raises `Interrupted`, or what the hold raises, which is asked before whatever is sent to the
    destination.
    """
    limit = asyncio.timeout(RUN_S_MAX)
    try:
        async with limit:
            return await _export(app, claim, hold)
    except TimeoutError:
        if not limit.expired():
            raise
        return Done(error=f"The run took longer than {RUN_S_MAX / 3600:g} hours")
    except (ServiceUnavailable, UpstreamTimeout) as error:
        raise Interrupted(error.message) from None
    except CutOff:
        raise Interrupted("records_service broke off within a record") from None
    except PermissionDenied:
        return Done(
            error=f"'{truncated(claim.runs_as)}', with whose rights the job runs, may not export"
            " records"
        )
    except (ApiError, DeliveryFailed, CannotOpen) as error:
        return Done(error=str(error)[:ERROR_LENGTH_MAX])


async def _export(app: web.Application, claim: Claim, hold: Hold) -> Done:
    kind = claim.body["destinationType"]
    place = Place(claim.workspace_id, destinations.KIND, claim.job_id)
    destination = destinations.opened(kind, claim.sealed, app[VAULT], place)
    lent = await acting.identity_of(app, claim.workspace_id, claim.runs_as_kind, claim.runs_as)
    if isinstance(lent, acting.Gone):
        return Done(error=lent.reason)
    made, compression = Format(claim.body["format"]), Compression(claim.body["compression"])
    file = File(
        file_name(claim.body["name"], claim.started_at, made, compression),
        claim.run_id,
        claim.attempt,
        media_type(made, compression),
    )
    writing, size = writer(made, compression), 0
    async with AsyncExitStack() as stack:
        streamed = app[RECORDS].stream(export_path(claim.body), identity_token=lent)
        pieces = await stack.enter_async_context(streamed)
        await hold.check()
        opening = opened(kind, destination.config, file, app[OUTBOUND])
        upload = await stack.enter_async_context(opening)
        async for piece in pieces:
            data = await _fed(writing, piece)
            if data:
                size += len(data)
                await hold.check()
                await upload.write(data)
        data = await in_thread(writing.finish)
        size += len(data)
        await hold.check()
        await upload.write(data)
        # Always asked: a file that appears late would replace that of the next one to make it.
        await hold.renew()
        path = await upload.commit()
    return Done(
        record_count=writing.records,
        file_size=size,
        replaced_characters=writing.replaced,
        destination_path=path[:PATH_LENGTH_MAX],
    )


async def _fed(writing: Writer, piece: bytes) -> bytes:
    if len(piece) < IN_THREAD_BYTES_MIN:
        return writing.feed(piece)
    return await in_thread(writing.feed, piece)
