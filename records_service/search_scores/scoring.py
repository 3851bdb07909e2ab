"""Keeps the stored scores up to date: a part of the job that indexes texts.

That job takes what writes have noted, one slice after the other, and no two at once. So a record is
scored in the slice that takes its note; and where the rules of a schema have changed, its records
are scored once more, in the order of their creation. Until all of them are, searches work their
scores out. What is written meanwhile is noted, and comes into a later slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from records_service.blueprint.blueprint import Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.progress import commands as following
from records_service.progress.model import NOBODY, Counts, JobKind, JobStatus
from records_service.search_scores import store
from records_service.search_scores.store import Scoring
from records_service.search_scores.views import Stored, stored_of
from records_service.values.completeness import is_empty
from records_service.values.entries import Values
from shared.database import Conn
from shared.database.pieces import Room
from shared.process.offload import in_thread

AT_ONCE: Final = 2_500
"""Scores of one slice: some tenths of a second where all that counts has guards."""
SCHEMAS_AT_ONCE: Final = 100


class Read(store.Read, Protocol):
    """A record that a slice has read."""

    @property
    def schema_id(self) -> str:
        """Its schema."""


async def score(conn: Conn, blueprint: Blueprint, records: Sequence[Read]) -> None:
    """Store the scores of records that were written, where scores of their schemas are stored."""
    known = await store.scorings(conn, blueprint.workspace_id)
    for schema_id in sorted({each.schema_id for each in records} & known.keys()):
        if schema_id in blueprint.schemas:
            of_schema = [each for each in records if each.schema_id == schema_id]
            stored = await in_thread(stored_of, blueprint, schema_id)
            if stored is None or known[schema_id].digest != stored.digest:
                # These rows are not by the rules of the digest, which may come back.
                await store.forget(conn, blueprint.workspace_id, [schema_id])
            if stored is not None:
                await store.write(conn, blueprint, schema_id, of_schema, stored.views)


async def score_more(conn: Conn, blueprint: Blueprint) -> bool:
    """Score the next records of schemas whose rules have changed; whether more are left."""
    workspace_id = blueprint.workspace_id
    known = await store.scorings(conn, workspace_id)
    wanted = await in_thread(_wanted, blueprint)
    gone = sorted(known.keys() - wanted.keys())
    if gone:
        await store.forget(conn, workspace_id, gone)
    if any(
        not known[each].is_done and known[each].digest != wanted[each].digest
        for each in known.keys() & wanted.keys()
    ):
        await following.end(
            conn,
            workspace_id,
            JobKind.SCORE_RECORDS,
            NOBODY,
            JobStatus.CANCELLED,
            "What is required has changed, and all records are scored anew",
        )
    waiting = [_scoring(known, each, stored) for each, stored in wanted.items()]
    waiting = [each for each in waiting if not each.is_done]
    scored, room, left = 0, AT_ONCE, len(waiting)
    for one in waiting[:SCHEMAS_AT_ONCE]:
        views = wanted[one.schema_id].views
        rows_max = max(room // len(views), 1)
        found, is_full = await store.next_places(
            conn, workspace_id, one.schema_id, one.after, room=Room(rows_max)
        )
        if found:
            await store.write_next(conn, blueprint, one.schema_id, one.after, found, views)
            await store.remove_others(conn, workspace_id, found, [each.key for each in views])
        is_done = not is_full
        after = None if is_done else (found[-1].created_at, found[-1].id)
        await store.keep(conn, workspace_id, replace(one, after=after, is_done=is_done))
        scored += len(found)
        room -= len(found) * len(views)
        left -= is_done
        if not is_done or room <= 0:
            break
    is_more = left > 0
    await _tell(conn, workspace_id, scored, [each.schema_id for each in waiting], is_more=is_more)
    return is_more


async def are_waiting(conn: Conn, blueprint: Blueprint) -> bool:
    """Whether `score_more` has something to do."""
    known = await store.scorings(conn, blueprint.workspace_id)
    wanted = await in_thread(_wanted, blueprint)
    return not known.keys() <= wanted.keys() or any(
        not _scoring(known, each, stored).is_done for each, stored in wanted.items()
    )


def _wanted(blueprint: Blueprint) -> dict[str, Stored]:
    found = {each: stored_of(blueprint, each) for each in sorted(blueprint.schemas)}
    return {each: stored for each, stored in found.items() if stored is not None}


def _scoring(known: Mapping[str, Scoring], schema_id: str, stored: Stored) -> Scoring:
    """How far a schema is on the way to what is wanted now."""
    scoring = known.get(schema_id)
    if scoring is None or scoring.digest != stored.digest:
        return Scoring(schema_id, stored.digest, None, is_done=False)
    return scoring


async def _tell(
    conn: Conn, workspace_id: str, scored: int, schema_ids: Sequence[str], *, is_more: bool
) -> None:
    """Tell how many records were scored, if they are more than one slice."""
    if scored and is_more:
        await following.begin_unasked(conn, workspace_id, JobKind.SCORE_RECORDS)
    if scored:
        await following.advance(
            conn,
            workspace_id,
            JobKind.SCORE_RECORDS,
            NOBODY,
            Counts(updated=scored),
            among=schema_ids,
            tables=("records",),
        )
    if not is_more:
        await following.end(conn, workspace_id, JobKind.SCORE_RECORDS, NOBODY)


def scores_may_differ(
    schema: CompiledSchema, old: Values, new: Values, differing: set[str]
) -> bool:
    """Whether a score may be another one with the new values, of which these attributes differ.

    Of a value that is asked only whether it is there, unless a guard looks at it.
    """
    guarding = _guarding(schema)
    return any(
        each in guarding or _filled(old.get(each, ())) != _filled(new.get(each, ()))
        for each in differing & schema.attributes.keys()
    )


def _filled(entries: Sequence[object]) -> list[tuple[object, bool]]:
    return [(each["scope"], is_empty(each["value"])) for each in entries]  # type: ignore[index]


def _guarding(schema: CompiledSchema) -> frozenset[str]:
    found: frozenset[str] | None = schema.derived.get("guarding")
    if found is None:
        found = frozenset(
            guard.attribute_id for each in schema.attributes.values() for guard in each.guards
        )
        schema.derived["guarding"] = found
    return found
