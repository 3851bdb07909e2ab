"""SQL: which workspaces need the job that indexes texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from records_service.search_texts.folding import FOLDING
from shared.database import Database

_NO_JOB: Final = (
    "NOT EXISTS (SELECT FROM jobs j WHERE j.workspace_id = s.workspace_id AND j.kind = $1)"
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A workspace with records that the index has not reached, and without the job."""

    workspace_id: str
    newest: int
    """The id of the newest row of what is behind."""
    records: int
    """How many records are behind."""
    new_records: int
    """How many of them were noted since it was looked at before."""
    has_languages: bool
    """Whether words of its texts may have other forms, as far as is known."""


async def workspaces_behind(
    database: Database, job: str, seen: Mapping[str, int], *, rows_max: int
) -> list[Waiting]:
    """Workspaces that are behind and without this job; `seen` is `newest` of each as it was."""
    rows = await database.fetch(
        f"""
        SELECT s.workspace_id, max(s.id) AS newest, sum(s.records)::bigint AS records,
               coalesce(sum(s.records) FILTER (WHERE s.id > coalesce(k.newest, 0)), 0)::bigint
                   AS new_records,
               (SELECT l.wanted -> 'languages' FROM search_layouts l
                 WHERE l.workspace_id = s.workspace_id) IS DISTINCT FROM '{{}}' AS has_languages
          FROM search_texts_behind s
          LEFT JOIN unnest($3::text[], $4::bigint[]) AS k (workspace_id, newest)
            ON k.workspace_id = s.workspace_id
         WHERE {_NO_JOB}
         GROUP BY s.workspace_id
         LIMIT $2
        """,  # noqa: S608
        job,
        rows_max,
        list(seen),
        list(seen.values()),
    )
    return [Waiting(**row) for row in rows]


async def workspaces_changed(database: Database, job: str, *, rows_max: int) -> list[str]:
    """Workspaces whose model has changed since their index was made for it; without this job."""
    rows = await database.fetch(
        f"""
        SELECT s.workspace_id
          FROM models s
          LEFT JOIN search_layouts l ON l.workspace_id = s.workspace_id
         WHERE s.is_indexed AND {_NO_JOB}
           AND (coalesce(l.model_version, -1) < s.version
                OR NOT l.are_scored AND l.scores_from <= now()
                OR NOT l.are_sorted AND l.sorts_from <= now()
                OR coalesce((l.wanted ->> 'folding')::int, 0) < $3 AND l.folds_from <= now())
         LIMIT $2
        """,  # noqa: S608
        job,
        rows_max,
        FOLDING,
    )
    return [row["workspace_id"] for row in rows]
