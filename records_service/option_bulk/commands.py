"""Writes the options of a bulk call, all in one transaction with one event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from records_service.bulk.calls import refusal
from records_service.bulk.model import BulkMode, BulkOutcome, Result
from records_service.context import Context
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import model_change
from records_service.option_bulk.judging import Judge
from records_service.option_bulk.model import OptionBulkQuery, OptionRow
from records_service.option_lists import store
from records_service.option_lists.commands import current, touch
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
    async with model_change(context.app, workspace_id) as conn:
        option_list = await current(context, conn, list_id)
        known = await store.list_values(conn, workspace_id, list_id)
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
        before = set(known)
        changed = [value for value in judged.values.values() if value not in before]
        if changed:
            ids = {value.id for value in changed}
            # Taken out before they are put back, so that two can exchange their aliases.
            await store.delete_values(
                conn, workspace_id, list_id, [value.id for value in known if value.id in ids]
            )
            await store.insert_values(conn, workspace_id, list_id, changed)
            option_list = await touch(conn, workspace_id, option_list)
    version = option_list.version
    return [
        one if one.outcome is BulkOutcome.FAILED else replace(one, version=version)
        for one in judged.results
    ], version
