"""Keeps the orders of texts and of values in scopes up to date: a part of the job of texts.

As with stored scores (`search_scores/scoring.py`): a record gets its rows where its texts are
indexed, and where the views of a schema have changed, all of its records get theirs, in the order
of their creation. Until then searches read the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import orjson

from records_service.blueprint.blueprint import Blueprint
from records_service.progress import commands as following
from records_service.progress.model import NOBODY, Counts, JobKind, JobStatus
from records_service.search_index.terms import bucket_of
from records_service.search_scores.store import Read, remove_others
from records_service.search_texts import sort_store
from records_service.search_texts.sort_keys import Sorted, View, sort_row, sorted_of
from records_service.search_texts.sort_store import Row, Sorting
from records_service.search_texts.store import Stored
from shared.database import Conn
from shared.database.pieces import Room
from shared.process.offload import in_thread

AT_ONCE: Final = 2_500
"""Rows of one slice."""
RECORDS_AT_ONCE: Final = 500
SCHEMAS_AT_ONCE: Final = 100


async def sort(conn: Conn, blueprint: Blueprint, records: Sequence[Stored]) -> None:
    """Store the rows of records that were written, where those of their schemas are stored."""
    known = await sort_store.sortings(conn, blueprint.workspace_id)
    for schema_id in sorted({each.schema_id for each in records} & known.keys()):
        found = sorted_of(blueprint, schema_id) if schema_id in blueprint.schemas else None
        if found is None or known[schema_id].digest != found.digest:
            anew = Sorting(schema_id, "", None, is_done=False)
            await sort_store.keep(conn, blueprint.workspace_id, anew)
        if found is not None and found.views:
            of_schema = [each for each in records if each.schema_id == schema_id]
            rows = await in_thread(_rows, found.views, of_schema)
            await sort_store.write(conn, blueprint.workspace_id, schema_id, rows)


async def sort_more(conn: Conn, blueprint: Blueprint) -> bool:
    """Store the rows of the next records of schemas whose views have changed; whether more wait."""
    workspace_id = blueprint.workspace_id
    known = await sort_store.sortings(conn, workspace_id)
    found = {each: sorted_of(blueprint, each) for each in sorted(blueprint.schemas)}
    wanted = {each: views for each, views in found.items() if views is not None}
    gone = sorted(known.keys() - wanted.keys())
    if gone:
        await sort_store.forget(conn, workspace_id, gone)
    waiting = [_sorting(known, each, views) for each, views in wanted.items()]
    waiting = [each for each in waiting if not each.is_done]
    if any(
        not known[each].is_done and known[each].digest != wanted[each].digest
        for each in known.keys() & wanted.keys()
    ):
        await following.end(
            conn,
            workspace_id,
            JobKind.SORT_RECORDS,
            NOBODY,
            JobStatus.CANCELLED,
            "The data model has changed, and all records are put in order anew",
        )
    done, room, left = 0, AT_ONCE, len(waiting)
    for one in waiting[:SCHEMAS_AT_ONCE]:
        views = wanted[one.schema_id].views
        rows_max = max(min(room // max(len(views), 1), RECORDS_AT_ONCE), 1)
        records: Sequence[Read] = ()
        is_full = False
        if views or one.schema_id in known:
            sorted_by = sorted({each.attribute.id for each in views})
            records, is_full = await sort_store.next_records(
                conn, workspace_id, one.schema_id, one.after, sorted_by, room=Room(rows_max)
            )
        if records:
            rows = await in_thread(_rows, views, records)
            await sort_store.write(conn, workspace_id, one.schema_id, rows)
            places = [(each.id, each.created_at) for each in records]
            keys = [each.key for each in views]
            await remove_others(conn, workspace_id, places, keys, table="search_sorts")
        is_done = not is_full
        after = None if is_done else (records[-1].created_at, records[-1].id)
        await sort_store.keep(conn, workspace_id, replace(one, after=after, is_done=is_done))
        done += len(records)
        room -= max(len(records) * len(views), 1)
        left -= is_done
        if not is_done or room <= 0:
            break
    is_more = left > 0
    await _tell(conn, workspace_id, done, [each.schema_id for each in waiting], is_more=is_more)
    return is_more


async def are_waiting(conn: Conn, blueprint: Blueprint) -> bool:
    """Whether `sort_more` has something to do."""
    known = await sort_store.sortings(conn, blueprint.workspace_id)
    found = {each: sorted_of(blueprint, each) for each in blueprint.schemas}
    wanted = {each: views for each, views in found.items() if views is not None}
    return not known.keys() <= wanted.keys() or any(
        not _sorting(known, each, views).is_done for each, views in wanted.items()
    )


async def _tell(
    conn: Conn, workspace_id: str, done: int, schema_ids: Sequence[str], *, is_more: bool
) -> None:
    """Tell how many records were put in order, if they are more than one slice."""
    if done and is_more:
        await following.begin_unasked(conn, workspace_id, JobKind.SORT_RECORDS)
    if done:
        await following.advance(
            conn,
            workspace_id,
            JobKind.SORT_RECORDS,
            NOBODY,
            Counts(updated=done),
            among=schema_ids,
            tables=("records",),
        )
    if not is_more:
        await following.end(conn, workspace_id, JobKind.SORT_RECORDS, NOBODY)


def _sorting(known: Mapping[str, Sorting], schema_id: str, views: Sorted) -> Sorting:
    """How far a schema is on the way to what is wanted now."""
    sorting = known.get(schema_id)
    if sorting is None or sorting.digest != views.digest:
        return Sorting(schema_id, views.digest, None, is_done=False)
    return sorting


def _rows(views: Sequence[View], records: Sequence[Read]) -> list[Row]:
    rows = []
    for record in records:
        values = orjson.loads(record.values)
        bucket = bucket_of(record.id)
        for view in views:
            number, text = sort_row(view, values)
            place = record.id, record.created_at, record.state_id
            rows.append(Row(*place, bucket, view.key, number, text))
    return rows
