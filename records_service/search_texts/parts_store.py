"""SQL: the parts of codes and texts, where the index holds the words of records already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from records_service.search_texts.documents import MARK_BYTES, Parts
from records_service.search_texts.store import Stored
from shared.database import Conn

_IS_PART: Final = f"substr(k.key, {MARK_BYTES + 1}, 1) = '#'"
"""The condition that a key is that of a part of a code."""


async def write(conn: Conn, workspace_id: str, found: Sequence[tuple[Stored, Parts]]) -> None:
    """Store these parts of records that follow each other in the order of their creation.

    What is so already is not written. To make their words anew would take four times as long.
    """
    first, last = found[0][0], found[-1][0]
    sent = [
        {
            "id": record.id,
            "created_at": record.created_at,
            "keys": parts.keys,
            "grams": parts.grams,
            "folded_of": [name for name, _ in parts.folded],
            "folded": [text for _, text in parts.folded],
        }
        for record, parts in found
    ]
    await conn.execute(
        f"""
        UPDATE search_texts t
           SET keys = array_to_tsvector(p.keys || ARRAY(
                   SELECT k.key FROM unnest(tsvector_to_array(t.keys)) AS k (key)
                    WHERE NOT {_IS_PART})),
               grams = p.grams, folded_of = p.folded_of, folded = p.folded
          FROM json_to_recordset($2::json)
               AS p (id text, created_at timestamptz, keys text[], grams int[], folded_of text[],
                     folded text[])
         WHERE t.workspace_id = $1 AND t.created_at = p.created_at AND t.record_id = p.id
           -- However the rows are joined: no others are read.
           AND (t.created_at, t.record_id) >= ($3, $4) AND (t.created_at, t.record_id) <= ($5, $6)
           AND ((t.grams, t.folded_of, t.folded)
                IS DISTINCT FROM (p.grams, p.folded_of, p.folded)
                OR p.keys <> ARRAY(
                   SELECT k.key FROM unnest(tsvector_to_array(t.keys)) AS k (key)
                    WHERE {_IS_PART} ORDER BY k.key COLLATE "C"))
        """,  # noqa: S608 - constants
        workspace_id,
        orjson.dumps(sent),
        first.created_at,
        first.id,
        last.created_at,
        last.id,
    )
