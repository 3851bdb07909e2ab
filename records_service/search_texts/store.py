"""SQL: the index of texts, and which records it has not reached yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

import orjson

from records_service.model_objects.converted_values import values_now
from records_service.search_texts.documents import SAMPLES, Document, Layout, mark_of
from shared.database import Conn, Record
from shared.database.listing import BEGINNING, Position
from shared.database.pieces import Room, first_piece, pieces

LEXEME_BYTES_MAX: Final = 2_000
"""With a mark it is no longer than what PostgreSQL accepts."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the index of a workspace is."""

    layout: Layout | None
    """What it holds of every record that is not behind."""
    wanted: Layout
    after: Position | None
    """Up to where records have been read to hold what is wanted."""
    is_done: bool
    """Whether it holds what is wanted, and the next slice may say so."""
    gone: frozenset[str] = frozenset()
    """Attributes that were deleted, of which it may hold values."""


@dataclass(frozen=True, slots=True)
class Behind:
    """Rows of `search_texts_behind`, and the records that they note."""

    ids: Sequence[int]
    records: Sequence[tuple[str, datetime]]
    of_scores: Collection[str]
    """Those of the records of which nothing but scores may be another one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A record with the values that are indexed."""

    id: str
    created_at: datetime
    schema_id: str
    state_id: str | None
    values: str
    variants: Sequence[str]


async def lock_model(conn: Conn, workspace_id: str) -> int | None:
    """Keep the model as it is until commit; its version, None where there is no search index."""
    version: int | None = await conn.fetchval(
        "SELECT version FROM models WHERE workspace_id = $1 AND is_indexed FOR SHARE", workspace_id
    )
    return version


async def find_progress(conn: Conn, workspace_id: str) -> Progress | None:
    """How far the index is; None where nothing has been indexed."""
    row = await conn.fetchrow(
        """
        SELECT layout::text, wanted::text, after_created_at, after_id, is_done, gone
          FROM search_layouts
         WHERE workspace_id = $1
        """,
        workspace_id,
    )
    if row is None:
        return None
    return Progress(
        None if row["layout"] is None else Layout.parse(orjson.loads(row["layout"])),
        Layout.parse(orjson.loads(row["wanted"])),
        None if row["after_id"] is None else (row["after_created_at"], row["after_id"]),
        row["is_done"],
        frozenset(row["gone"]),
    )


async def keep_progress(
    conn: Conn, workspace_id: str, progress: Progress, *, model_version: int
) -> None:
    """Store how far the index is by this version of the model."""
    await conn.execute(
        """
        INSERT INTO search_layouts AS known (workspace_id, layout, wanted, model_version,
                                             after_created_at, after_id, is_done, gone)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (workspace_id)
            DO UPDATE SET layout = excluded.layout, wanted = excluded.wanted,
                          model_version = excluded.model_version,
                          after_created_at = excluded.after_created_at,
                          after_id = excluded.after_id, is_done = excluded.is_done,
                          gone = excluded.gone
        """,
        workspace_id,
        None if progress.layout is None else progress.layout.as_json(),
        progress.wanted.as_json(),
        model_version,
        *(progress.after or (None, None)),
        progress.is_done,
        sorted(progress.gone),
    )


async def forget_attribute(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """An attribute is deleted. Its values stay in the index, and must not be those of another one.

    The caller holds the model lock.
    """
    await conn.execute(
        """
        UPDATE search_layouts SET gone = array_append(gone, $2::text)
         WHERE workspace_id = $1 AND NOT $2 = ANY(gone)
        """,
        workspace_id,
        attribute_id,
    )


async def take_behind(conn: Conn, workspace_id: str, *, rows_max: int) -> Behind:
    """The oldest rows of what is behind, of so many records if there is more than one, locked."""
    sizes = await conn.fetch(
        """
        SELECT id, records FROM search_texts_behind
         WHERE workspace_id = $1
         ORDER BY id
         LIMIT $2::bigint
        """,
        workspace_id,
        rows_max,
    )
    until = accumulate(row["records"] for row in sizes)
    taken = [row["id"] for row, size in zip(sizes, until, strict=True) if size <= rows_max]
    rows = await conn.fetch(
        """
        SELECT id, record_ids, created_at, scores_only
          FROM search_texts_behind
         WHERE workspace_id = $1 AND id = ANY($2::bigint[])
         ORDER BY id
           FOR UPDATE
        """,
        workspace_id,
        taken or [row["id"] for row in sizes[:1]],
    )
    records: dict[tuple[str, datetime], None] = {}
    whole: set[str] = set()
    for row in rows:
        records.update(dict.fromkeys(zip(row["record_ids"], row["created_at"], strict=True)))
        if not row["scores_only"]:
            whole.update(row["record_ids"])
    of_scores = {record_id for record_id, _ in records} - whole
    return Behind([row["id"] for row in rows], list(records), of_scores)


async def delete_behind(conn: Conn, workspace_id: str, ids: Sequence[int]) -> None:
    """The index has reached what these rows note."""
    await conn.execute(
        "DELETE FROM search_texts_behind WHERE workspace_id = $1 AND id = ANY($2::bigint[])",
        workspace_id,
        ids,
    )


async def newest_behind(conn: Conn, workspace_id: str) -> int:
    """The id of the newest row of what is behind, 0 if nothing is."""
    found: int = await conn.fetchval(
        "SELECT coalesce(max(id), 0) FROM search_texts_behind WHERE workspace_id = $1",
        workspace_id,
    )
    return found


async def left_behind(conn: Conn, workspace_id: str, *, rows_max: int) -> tuple[int, int]:
    """How many records the oldest rows of what is behind note, and the newest id among them.

    So many rows at most are looked at.
    """
    row = await conn.fetchrow(
        """
        SELECT coalesce(sum(records), 0) AS records, coalesce(max(id), 0) AS newest
          FROM (SELECT id, records FROM search_texts_behind
                 WHERE workspace_id = $1
                 ORDER BY id
                 LIMIT $2) AS oldest
        """,
        workspace_id,
        rows_max,
    )
    assert row is not None
    return row["records"], row["newest"]


def _read(values: Callable[[str], str]) -> str:
    """A SELECT of records with `values` of each row of records and variants."""
    return f"""
        SELECT r.id, r.created_at, r.schema_id, r.state_id, ({values("r")})::text AS own,
               coalesce((SELECT array_agg(({values("v")})::text ORDER BY v.created_at, v.id)
                           FROM variants v
                          WHERE v.workspace_id = $1 AND v.record_id = r.id), '{{}}') AS variants
          FROM records r"""  # noqa: S608 - constants


def _of_some(row: str) -> str:
    """The values of a row that are of the attributes $5."""
    return f"""
        SELECT coalesce(jsonb_object_agg(a.id, own.v -> a.id), '{{}}')
          FROM (SELECT {values_now(row)} AS v OFFSET 0) AS own
         CROSS JOIN unnest($5::text[]) AS a (id)
         WHERE own.v ? a.id"""  # noqa: S608 - constants


async def read(
    conn: Conn, workspace_id: str, record_ids: Sequence[str]
) -> AsyncIterator[list[Stored]]:
    """Those of these records that there are, a piece at a time."""
    reading = pieces(
        conn,
        f"{_read(values_now)} WHERE r.workspace_id = $1 AND r.id = ANY($2::text[])",
        workspace_id,
        record_ids,
        size_of=_size,
        room=Room(max(1, len(record_ids))),
    )
    async for rows, _ in reading:
        yield list(map(_stored, rows))


async def read_next(
    conn: Conn,
    workspace_id: str,
    after: Position | None,
    *,
    room: Room,
    attribute_ids: Collection[str] | None = None,
) -> tuple[list[Stored], bool]:
    """The next records in the order of their creation, and whether there may be more.

    With the values of these attributes alone, unless all are wanted.
    """
    rows, is_full = await first_piece(
        conn,
        f"""
        {_read(values_now if attribute_ids is None else _of_some)}
         WHERE r.workspace_id = $1 AND (r.created_at, r.id) > ($2, $3)
         ORDER BY r.created_at, r.id
         LIMIT $4::bigint
        """,
        workspace_id,
        *(after or BEGINNING),
        room.rows,
        *([] if attribute_ids is None else [sorted(attribute_ids)]),
        size_of=_size,
        room=room,
    )
    return list(map(_stored, rows)), is_full


def _size(row: Record) -> int:
    return len(row["own"]) + sum(map(len, row["variants"]))


async def write(
    conn: Conn, workspace_id: str, documents: Iterable[tuple[Stored, Document]]
) -> None:
    """Store what the index holds of these records; what is so already is not written."""
    sent = [
        {
            "id": record.id,
            "created_at": record.created_at,
            "schema_id": record.schema_id,
            "level": document.level,
            "texts_of": [attribute_id for attribute_id, _, _ in document.texts],
            "texts": [words for _, words, _ in document.texts],
            "configurations": [configuration for _, _, configuration in document.texts],
            "options": document.options,
            "keys": [*document.keys, *document.parts.keys],
            "grams": document.parts.grams,
            "folded_of": [name for name, _ in document.parts.folded],
            "folded": [text for _, text in document.parts.folded],
        }
        for record, document in documents
    ]
    await conn.execute(
        """
        WITH document AS MATERIALIZED (
            SELECT d.*, w.attributes, w.words
              FROM json_to_recordset($2::json)
                   AS d (id text, created_at timestamptz, schema_id text, level smallint,
                         texts_of text[], texts text[], configurations text[], options text[],
                         keys text[], grams int[], folded_of text[], folded text[])
             CROSS JOIN LATERAL (
                   SELECT coalesce(array_agg(t.attribute ORDER BY c.place, t.place), '{}')
                              AS attributes,
                          coalesce(array_agg(to_tsvector(c.name, t.text)
                                             ORDER BY c.place, t.place), '{}') AS words
                     FROM unnest(d.texts_of, d.texts, d.configurations) WITH ORDINALITY
                          AS t (attribute, text, configuration, place)
                    CROSS JOIN LATERAL (VALUES ('simple'::regconfig, 0),
                                               (t.configuration::regconfig, 1)) AS c (name, place)
                    WHERE c.name IS NOT NULL
             ) AS w
        )
        INSERT INTO search_texts AS known (workspace_id, created_at, record_id, schema_id, level,
                                           keys, grams, attributes, words, options, folded_of,
                                           folded)
        SELECT $1, d.created_at, d.id, d.schema_id, d.level,
               array_to_tsvector(d.keys || ARRAY(
                   SELECT mark || lexeme
                     FROM unnest(d.words) AS w (word)
                    CROSS JOIN LATERAL unnest(tsvector_to_array(w.word)) AS l (lexeme)
                    CROSS JOIN LATERAL unnest(($3::text[])[1:d.level + 1]) AS m (mark)
                    WHERE octet_length(lexeme) <= $4::int)),
               d.grams, d.attributes, d.words, d.options, d.folded_of, d.folded
          FROM document d
            ON CONFLICT (workspace_id, created_at, record_id)
            DO UPDATE SET schema_id = excluded.schema_id, keys = excluded.keys,
                          grams = excluded.grams, attributes = excluded.attributes,
                          words = excluded.words, options = excluded.options,
                          folded_of = excluded.folded_of, folded = excluded.folded
             WHERE (known.attributes, known.words, known.keys, known.grams, known.folded_of,
                    known.folded, known.options, known.schema_id)
                   IS DISTINCT FROM
                   (excluded.attributes, excluded.words, excluded.keys, excluded.grams,
                    excluded.folded_of, excluded.folded, excluded.options, excluded.schema_id)
        RETURNING 1
        """,
        workspace_id,
        orjson.dumps(sent),
        [mark_of(workspace_id, level) for level in range(len(SAMPLES))],
        LEXEME_BYTES_MAX,
    )


async def delete(conn: Conn, workspace_id: str, records: Sequence[tuple[str, datetime]]) -> None:
    """Forget these records, each with its id and time of creation."""
    await conn.execute(
        """
        DELETE FROM search_texts t
         USING unnest($2::text[], $3::timestamptz[]) AS gone (id, created_at)
         WHERE t.workspace_id = $1 AND t.created_at = gone.created_at AND t.record_id = gone.id
        """,
        workspace_id,
        [record_id for record_id, _ in records],
        [created_at for _, created_at in records],
    )


async def holds_key(conn: Conn, workspace_id: str, keys: Sequence[str]) -> bool:
    """Whether some record has one of these keys."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM search_texts WHERE workspace_id = $1 AND keys @@ $2::text::tsquery)
        """,
        workspace_id,
        " | ".join(map(quoted, keys)),
    )
    return found


def quoted(key: str) -> str:
    """A key as it stands in the text of a `tsquery`."""
    return "'" + key.replace("\\", "\\\\").replace("'", "''") + "'"


async def scores_are_due(conn: Conn, workspace_id: str) -> bool:
    """Whether no code that notes no changes of scores writes records any more."""
    found: bool = await conn.fetchval(
        """
        UPDATE search_layouts SET are_scored = true
         WHERE workspace_id = $1 AND scores_from <= now()
        RETURNING true
        """,
        workspace_id,
    )
    return bool(found)


def _stored(row: Record) -> Stored:
    fields: dict[str, Any] = dict(row)
    return Stored(
        fields["id"],
        fields["created_at"],
        fields["schema_id"],
        fields["state_id"],
        fields["own"],
        fields["variants"],
    )
