"""Writes the options of a bulk call, all in one transaction with one event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from records_service.bulk.calls import refusal
from records_service.bulk.model import BulkMode, BulkOutcome, Result
from records_service.bulk.work import plan_anew
from records_service.context import Context
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import model_change
from records_service.option_bulk.judging import Judge, Known
from records_service.option_bulk.model import OptionBulkQuery, OptionRow
from records_service.option_lists import store, value_store
from records_service.option_lists.commands import analyze_grown, check_room, current, touch
from shared.database import Conn
from shared.errors import ApiError
from shared.process.offload import in_thread


async def write(
    context: Context, list_id: str, asked: OptionBulkQuery, rows: Sequence[OptionRow | ApiError]
) -> tuple[list[Result], int]:
    """What became of each row, and the version of the list afterwards.

    In mode `atomic`, raises the error of the first bad row, with nothing written.
    """
    workspace_id = context.workspace_id
    labelled = {s for row in rows if isinstance(row, OptionRow) for s in row.labels}
    async with model_change(context.app, workspace_id, plan_anew) as conn:
        option_list = await current(context, conn, list_id)
        known = await _known(conn, workspace_id, list_id, rows)
        segments = (
            await model_objects.segments_among(conn, workspace_id, labelled) if labelled else ()
        )
        judge = Judge(
            known,
            hierarchical=option_list.body["hierarchical"],
            segments=segments,
            options=asked,
        )
        judged = await in_thread(judge.judge, rows)
        bad = [(one, one.error) for one in judged.results if one.error is not None]
        if bad and asked.mode is BulkMode.ATOMIC:
            raise refusal(bad)
        if judged.changed:
            ids = {value.id for value in judged.changed}
            # Taken out before they are put back, so that two can exchange their aliases.
            await value_store.delete(
                conn, workspace_id, list_id, [one.id for one in known.values if one.id in ids]
            )
            await value_store.insert(conn, workspace_id, list_id, judged.changed)
            option_list = await touch(conn, workspace_id, option_list, judged.count)
            await check_room(conn, workspace_id)
    await analyze_grown(context, known.count, judged.count)
    version = option_list.version
    return [
        one if one.outcome is BulkOutcome.FAILED else replace(one, version=version)
        for one in judged.results
    ], version


async def _known(
    conn: Conn, workspace_id: str, list_id: str, rows: Sequence[OptionRow | ApiError]
) -> Known:
    """What these rows are judged by: as many statements for a large list as for a small one."""
    sent = [row for row in rows if isinstance(row, OptionRow)]
    parents = {row.parent_id for row in sent if row.parent_id is not None}
    return Known(
        count=await store.count(conn, workspace_id, list_id),
        last=await value_store.last_place(conn, workspace_id, list_id),
        values=await value_store.named(
            conn,
            workspace_id,
            list_id,
            {row.id for row in sent if row.id is not None},
            {row.alias for row in sent if row.alias is not None},
            {row.external_key for row in sent if row.external_key is not None},
        ),
        above=await value_store.above(conn, workspace_id, list_id, parents) if parents else {},
    )
