"""The SQL that reserves and releases values that records and variants hold already.

Unique keys are sent as JSON `[[record id, variant id or null, scope, hexadecimal hash], ...]`:
PostgreSQL takes it apart, and not the event loop.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from records_service.attributes.unique_keys import Holder, UniqueKey
from shared.database import Conn
from shared.process.offload import in_thread

_SENT: Final = """
    SELECT c ->> 0 AS record_id, c ->> 1 AS variant_id, c ->> 2 AS scope,
           decode(c ->> 3, 'hex') AS value_hash, place
      FROM json_array_elements($3::json) WITH ORDINALITY AS sent (c, place)
"""


_AS_KEYS: Final = """
    json_agg(json_build_array(s.record_id, s.variant_id, s.scope, encode(s.value_hash, 'hex'))
             ORDER BY s.place)::text
"""


@dataclass(frozen=True, slots=True)
class Refused:
    """A value that could not be reserved, and who has reserved it: a record or its variant."""

    record_id: str
    variant_id: str | None
    scope: str
    value_hash: bytes
    holding_record_id: str
    holding_variant_id: str | None

    @property
    def holding(self) -> Holder:
        """Who has reserved it."""
        return self.holding_record_id, self.holding_variant_id

    @property
    def asking(self) -> Holder:
        """Who could not."""
        return self.record_id, self.variant_id

    @property
    def holder(self) -> str:
        """The id of the variant or record that has reserved it."""
        return self.holding_variant_id or self.holding_record_id

    @property
    def asker(self) -> str:
        """The id of the variant or record that could not."""
        return self.variant_id or self.record_id


async def claim(
    conn: Conn, workspace_id: str, attribute_id: str, keys: Sequence[tuple[Holder, UniqueKey]]
) -> list[Refused]:
    """Reserve these values for those that hold them, as far as nobody else has; what is left.

    What was sent first is reserved first. Two that hold one value may both be sent.
    """
    refused: list[Refused] = []
    left: bytes | None = await _sent(keys)
    while left is not None:
        left = await _insert(conn, workspace_id, attribute_id, left)
        if left is not None:
            # Another statement: it sees what others reserved while the first one waited for them.
            more, left = await _holders(conn, workspace_id, attribute_id, left)
            refused += more
    return refused


async def _sent(keys: Sequence[tuple[Holder, UniqueKey]]) -> bytes:
    """The keys as they are sent."""
    return await in_thread(
        lambda: orjson.dumps([(*holder, key.scope, key.value_hash.hex()) for holder, key in keys])
    )


async def _insert(conn: Conn, workspace_id: str, attribute_id: str, keys: bytes) -> bytes | None:
    """Reserve what is free; the keys that are left."""
    left: str | None = await conn.fetchval(
        f"""
        WITH sent AS MATERIALIZED ({_SENT}), claimed AS (
            INSERT INTO unique_values (workspace_id, attribute_id, scope, value_hash, record_id,
                                       variant_id)
            SELECT m.workspace_id, $2, sent.scope, sent.value_hash, sent.record_id,
                   sent.variant_id
              FROM models m CROSS JOIN sent
             WHERE m.workspace_id = $1
             -- As writers of records do it, so that none of them waits in a circle.
             ORDER BY sent.scope, sent.value_hash, sent.place
                ON CONFLICT (workspace_id, attribute_id, scope, value_hash) DO NOTHING
            RETURNING scope, value_hash, record_id, variant_id
        )
        SELECT {_AS_KEYS}
          FROM sent s
         WHERE NOT EXISTS (SELECT FROM claimed c
                            WHERE c.scope = s.scope AND c.value_hash = s.value_hash
                              AND c.record_id = s.record_id
                              AND c.variant_id IS NOT DISTINCT FROM s.variant_id)
        """,  # noqa: S608 - constants
        workspace_id,
        attribute_id,
        keys,
    )
    return None if left is None else left.encode()


async def _holders(
    conn: Conn, workspace_id: str, attribute_id: str, keys: bytes
) -> tuple[list[Refused], bytes | None]:
    """Who else has reserved these; the keys that nobody has any more."""
    rows = await conn.fetch(
        f"""
        SELECT s.record_id, s.variant_id, s.scope, s.value_hash,
               u.record_id AS holding_record_id, u.variant_id AS holding_variant_id
          FROM ({_SENT}) AS s
          -- With a LIMIT each is looked up by the primary key: without statistics, PostgreSQL might
          -- read all values of the attribute for each of them.
          LEFT JOIN LATERAL (
               SELECT record_id, variant_id FROM unique_values
                WHERE workspace_id = $1 AND attribute_id = $2
                  AND scope = s.scope AND value_hash = s.value_hash
                LIMIT 1
          ) AS u ON true
         ORDER BY s.place
        """,  # noqa: S608 - a constant
        workspace_id,
        attribute_id,
        keys,
    )
    asked = [Refused(**row) for row in rows if row["holding_record_id"] is not None]
    free = [
        (row["record_id"], row["variant_id"], row["scope"], row["value_hash"].hex())
        for row in rows
        if row["holding_record_id"] is None
    ]
    # What a record or variant has reserved itself is not refused.
    return [
        one
        for one in asked
        if (one.record_id, one.variant_id) != (one.holding_record_id, one.holding_variant_id)
    ], orjson.dumps(free) if free else None


async def take_over(
    conn: Conn, workspace_id: str, attribute_id: str, stale: Collection[Refused]
) -> None:
    """Give values to those that hold them, where who has reserved them does not any more."""
    await conn.execute(
        """
        UPDATE unique_values u
           SET record_id = t.record_id, variant_id = t.variant_id
          FROM unnest($3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[])
               AS t (scope, value_hash, holding_record_id, record_id, variant_id)
         WHERE u.workspace_id = $1 AND u.attribute_id = $2 AND u.scope = t.scope
           AND u.value_hash = t.value_hash AND u.record_id = t.holding_record_id
        """,
        workspace_id,
        attribute_id,
        [one.scope for one in stale],
        [one.value_hash for one in stale],
        [one.holding_record_id for one in stale],
        [one.record_id for one in stale],
        [one.variant_id for one in stale],
    )


async def release_others(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    keys: Sequence[tuple[Holder, UniqueKey]],
    record_ids: Collection[str],
    variants: Collection[tuple[str, str]],
) -> None:
    """Release what these records and (record, variant) have reserved, except these values."""
    await conn.execute(
        f"""
        WITH sent AS MATERIALIZED ({_SENT})
        DELETE FROM unique_values u
         WHERE u.workspace_id = $1 AND u.record_id = ANY($4::text[])
           -- Not by the primary key: the attribute may have a million rows that PostgreSQL has no
           -- statistics of yet.
           AND u.attribute_id || '' = $2
           AND (u.record_id = ANY($5::text[]) AND u.variant_id IS NULL
                OR u.variant_id = ANY($6::text[]))
           AND NOT EXISTS (SELECT FROM sent s
                            WHERE s.scope = u.scope AND s.value_hash = u.value_hash
                              AND s.record_id = u.record_id
                              AND s.variant_id IS NOT DISTINCT FROM u.variant_id)
        """,  # noqa: S608 - a constant
        workspace_id,
        attribute_id,
        await _sent(keys),
        list({*record_ids, *(record_id for record_id, _ in variants)}),
        list(record_ids),
        [variant_id for _, variant_id in variants],
    )


async def reserves_more(conn: Conn, workspace_id: str, attribute_id: str, *, than: int) -> bool:
    """Whether more values of the attribute are reserved than that."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM unique_values
                        WHERE workspace_id = $1 AND attribute_id = $2
                       OFFSET $3::bigint)
        """,
        workspace_id,
        attribute_id,
        than,
    )
    return found


async def release_some(conn: Conn, workspace_id: str, attribute_id: str, *, rows_max: int) -> bool:
    """Release reserved values of the attribute; whether there may be more than these."""
    last = await conn.fetchrow(
        """
        SELECT scope, value_hash FROM unique_values
         WHERE workspace_id = $1 AND attribute_id = $2
         ORDER BY scope, value_hash
        OFFSET $3::bigint - 1
         LIMIT 1
        """,
        workspace_id,
        attribute_id,
        rows_max,
    )
    if last is None:
        await conn.execute(
            "DELETE FROM unique_values WHERE workspace_id = $1 AND attribute_id = $2",
            workspace_id,
            attribute_id,
        )
        return False
    # A range of the primary key: a join with the rows to delete is planned without statistics.
    await conn.execute(
        """
        DELETE FROM unique_values
         WHERE workspace_id = $1 AND attribute_id = $2 AND (scope, value_hash) <= ($3, $4)
        """,
        workspace_id,
        attribute_id,
        last["scope"],
        last["value_hash"],
    )
    return True
