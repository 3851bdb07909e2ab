"""Brings the index of texts up to date, as a background job of each workspace.

A slice takes what writes have noted, oldest first, and stores what the index holds of these
records. It reads a record after it has taken the note: what is written later has a note of its own,
and until that is taken too, searches read the values.

If the model wants the index to hold something else, such as the forms of words of another language,
all records are read once more; of parts of other texts, only these are written; for other rules of
folding, those records are read that they make a difference to. What the index holds of every record
is its layout, which searches know by the version of the model: so a slice keeps the model from
changing, and the last one, which says that the new layout holds, raises the version.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
from aiohttp import web

from records_service.attributes.model import AttributeType
from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.model_objects.commands import take_lock
from records_service.progress import commands as following
from records_service.progress.model import NOBODY, Counts, JobKind, JobStatus
from records_service.search_scores import scoring
from records_service.search_scores import store as scores
from records_service.search_texts import parts_store, refolding, sort_store, sorting, store
from records_service.search_texts.documents import (
    Document,
    Layout,
    Parts,
    attribute_key,
    document_of,
    layout_of,
    mark_of,
    parts_of,
)
from records_service.search_texts.store import Progress, Stored
from shared.database import DATABASE, Conn
from shared.database.pieces import Room
from shared.process.offload import in_thread

JOB: Final = "index_texts"
AT_ONCE: Final = 500
"""Records of one slice."""
AWAITED_MAX: Final = 40_000
"""So many records may be behind while the job waits for a load of writes to end. Searches read the
values of these meanwhile, which takes some 3 s."""
AWAITED_MAX_OF_LANGUAGES: Final = 30_000
"""The same where words have other forms: each text is taken apart then."""


class TextIndexing:
    """The job, in a process; made before the application that it belongs to."""

    def __init__(self) -> None:
        self.app: web.Application | None = None

    async def run_some(self, conn: Conn, workspace_id: str, _key: str) -> bool:
        """One slice of the job of a workspace; whether more is left."""
        assert self.app is not None
        progress = await store.find_progress(conn, workspace_id)
        if progress is not None and progress.is_done:
            return await _finish(conn, workspace_id)
        if await refolding.is_due(conn, workspace_id, progress):
            return await refolding.begin(conn, workspace_id)
        newest = await store.newest_behind(conn, workspace_id)
        version = await store.lock_model(conn, workspace_id)
        if version is None:
            return False
        # What it says of deleted attributes may have changed before the model was locked.
        progress = await store.find_progress(conn, workspace_id)
        blueprint = await self.app[BLUEPRINTS].at(self.app[DATABASE], workspace_id, version)
        folding = await refolding.folding_of(conn, workspace_id, progress)
        wanted = layout_of(blueprint.attributes.values(), blueprint.dimensions.values(), folding)
        progress = await _started(conn, blueprint, progress, wanted)
        behind = await store.take_behind(conn, workspace_id, rows_max=AT_ONCE)
        gone = set(behind.records)
        found = 0
        async for records in store.read(conn, workspace_id, [each for each, _ in behind.records]):
            whole = [each for each in records if each.id not in behind.of_scores]
            await _write(conn, blueprint, wanted, whole)
            await scoring.score(conn, blueprint, records)
            await sorting.sort(conn, blueprint, whole)
            gone -= {(each.id, each.created_at) for each in records}
            found += len(records)
        if gone:
            await store.delete(conn, workspace_id, sorted(gone))
            for table in scores.VIEW_TABLES:
                await scores.remove_others(conn, workspace_id, sorted(gone), [], table=table)
        read = 0
        if progress.layout != wanted and not progress.is_done and found < AT_ONCE // 2:
            progress, read = await _read_more(conn, blueprint, progress)
        await store.delete_behind(conn, workspace_id, behind.ids)
        await store.keep_progress(conn, workspace_id, progress, model_version=version)
        await _tell(conn, workspace_id, read, blueprint.schemas, is_all=progress.is_done)
        is_more = progress.layout != wanted or await _goes_on(conn, workspace_id, wanted, newest)
        if found + read < AT_ONCE // 2:
            return await _follow_views(conn, blueprint) or is_more
        return (
            is_more
            or await scoring.are_waiting(conn, blueprint)
            or await sorting.are_waiting(conn, blueprint)
        )


async def _follow_views(conn: Conn, blueprint: Blueprint) -> bool:
    """Store more scores and orders where the model asks for others; whether more are wanted."""
    is_more = False
    if await store.scores_are_due(conn, blueprint.workspace_id):
        is_more = await scoring.score_more(conn, blueprint)
    if await sort_store.are_due(conn, blueprint.workspace_id):
        is_more = await sorting.sort_more(conn, blueprint) or is_more
    return is_more


def awaited_max(*, has_languages: bool) -> int:
    """How many records may be behind while the job waits."""
    return AWAITED_MAX_OF_LANGUAGES if has_languages else AWAITED_MAX


async def _goes_on(conn: Conn, workspace_id: str, wanted: Layout, newest: int) -> bool:
    """Whether there is a next turn; `newest` was the newest of what is behind when this one began.

    Where records have been written meanwhile, the job waits until it is woken, a second at most:
    to index a record takes as long as to write it, so a load of writes would take twice as long.
    """
    awaited = awaited_max(has_languages=bool(wanted.languages))
    records, newest_now = await store.left_behind(conn, workspace_id, rows_max=awaited + 1)
    return records > awaited or (records > 0 and newest_now <= newest)


async def _started(
    conn: Conn, blueprint: Blueprint, known: Progress | None, wanted: Layout
) -> Progress:
    """How far the index is on its way to what is wanted now."""
    layout = None if known is None else known.layout
    gone = frozenset[str]() if known is None else known.gone
    back = gone & blueprint.attributes.keys()
    if back or (known is not None and known.wanted != wanted):
        await following.end(
            conn,
            blueprint.workspace_id,
            JobKind.INDEX_TEXTS,
            NOBODY,
            JobStatus.CANCELLED,
            "The data model has changed, and the index is made anew",
        )
    if back:
        # There are values of another attribute under this id.
        return Progress(None, wanted, None, False, gone - back)
    if layout is not None:
        # What is not wanted any more is not written any more, so it is not known of every record.
        layout = layout.common(wanted)
    if layout == wanted or (known is not None and known.wanted == wanted):
        after, is_done = (None, False) if known is None else (known.after, known.is_done)
        return Progress(layout, wanted, after, is_done, gone)
    # Of an attribute that no record has, there is nothing to read.
    is_done = (
        layout is not None
        and layout.folding == wanted.folding
        and not await store.holds_key(
            conn,
            blueprint.workspace_id,
            [
                attribute_key(mark_of(blueprint.workspace_id, 0), each)
                for each in sorted(
                    (wanted.codes - layout.codes) | (wanted.filterable - layout.filterable)
                )
            ],
        )
    )
    return Progress(layout, wanted, None, is_done, gone)


async def _read_more(conn: Conn, blueprint: Blueprint, progress: Progress) -> tuple[Progress, int]:
    """Store what is wanted of the next records; how far it is then, and how many they were.

    Where the words of all records are in the languages that are wanted, they stay as they are.
    """
    workspace_id, layout = blueprint.workspace_id, progress.layout
    if refolding.is_wanted(layout, progress.wanted):
        return await _fold_more(conn, blueprint, progress)
    wanted = progress.wanted
    is_all = layout is None or layout.folding != wanted.folding
    records, is_full = await store.read_next(
        conn,
        workspace_id,
        progress.after,
        room=Room(AT_ONCE),
        attribute_ids=None if is_all else wanted.codes | wanted.filterable,
    )
    if is_all:
        await _write(conn, blueprint, wanted, records)
    elif records:
        parts = await in_thread(_parts, blueprint, wanted, records)
        await parts_store.write(conn, workspace_id, parts)
    after = (records[-1].created_at, records[-1].id) if records else progress.after
    return replace(progress, after=after, is_done=not is_full), len(records)


async def _fold_more(conn: Conn, blueprint: Blueprint, progress: Progress) -> tuple[Progress, int]:
    """Index anew those of the next records that are folded otherwise now; as `_read_more`."""
    workspace_id = blueprint.workspace_id
    looked_at = await refolding.look_at_more(conn, workspace_id, progress.after)
    async for records in store.read(conn, workspace_id, looked_at.differing):
        await _write(conn, blueprint, progress.wanted, records)
    after = looked_at.last or progress.after
    return replace(progress, after=after, is_done=not looked_at.is_full), looked_at.count


async def _write(
    conn: Conn, blueprint: Blueprint, layout: Layout, records: Sequence[Stored]
) -> None:
    if records:
        documents = await in_thread(_documents, blueprint, layout, records)
        await store.write(conn, blueprint.workspace_id, documents)


async def _tell(
    conn: Conn, workspace_id: str, read: int, schemas: Collection[str], *, is_all: bool
) -> None:
    """Tell how many records were read for what is wanted now, if they are more than one slice."""
    if read and not is_all:
        await following.begin_unasked(conn, workspace_id, JobKind.INDEX_TEXTS)
    if read:
        await following.advance(
            conn,
            workspace_id,
            JobKind.INDEX_TEXTS,
            NOBODY,
            Counts(updated=read),
            among=sorted(schemas),
            tables=("records",),
        )


async def _finish(conn: Conn, workspace_id: str) -> bool:
    """Say that the index holds what was wanted, in a new version of the model.

    A slice of its own, because the lock of the model comes before all others. What is wanted may
    have changed since: then the next slice starts again.
    """
    await take_lock(conn, workspace_id)
    progress = await store.find_progress(conn, workspace_id)
    version = await store.lock_model(conn, workspace_id)
    if progress is None or version is None:
        return False
    if progress.is_done:
        held = replace(progress, layout=progress.wanted, after=None, is_done=False)
        await store.keep_progress(conn, workspace_id, held, model_version=version)
        await following.end(conn, workspace_id, JobKind.INDEX_TEXTS, NOBODY)
    return True


def _documents(
    blueprint: Blueprint, layout: Layout, records: Sequence[Stored]
) -> list[tuple[Stored, Document]]:
    types = _types(blueprint)
    return [
        (each, document_of(blueprint.workspace_id, each.id, _values(each), types, layout))
        for each in records
    ]


def _parts(
    blueprint: Blueprint, layout: Layout, records: Sequence[Stored]
) -> list[tuple[Stored, Parts]]:
    types = _types(blueprint)
    return [
        (each, parts_of(blueprint.workspace_id, each.id, _values(each), types, layout))
        for each in records
    ]


def _types(blueprint: Blueprint) -> dict[str, AttributeType]:
    return {each.id: each.type for each in blueprint.attributes.values()}


def _values(record: Stored) -> list[dict[str, Any]]:
    """Those of a record and of each of its variants."""
    return [orjson.loads(each) for each in (record.values, *record.variants)]
