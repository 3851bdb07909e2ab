"""What the deletion of variants leaves behind: parts of the statements that delete them.

A record may have thousands of variants. To read what they hold, and send it back as their history
and events, would take as many rows to this process and back, and what is created meanwhile would be
missing. So the statement itself makes both, from what it deletes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from records_service.writes.model import VariantsDelete
from shared.ids import new_id
from shared.messaging import outbox


def deleted_variants(number: int) -> str:
    """The parts of a statement that leave behind what the deletion of variants leaves behind.

    The parts before are `variant`, the deleted rows, and `ended`, for each of their records what
    their history and events have in common. The parameters from this number on are those of
    `deleted_arguments`.
    """
    schemas, ids, aliases, seed, bytes_max = (f"${number + n}" for n in range(5))
    return f"""
        variant_gone AS MATERIALIZED (
            SELECT v.id, v.record_id, v.version + 1 AS version, greatest(e.at, v.updated_at) AS at,
                   coalesce(v.parent_id, v.record_id) AS parent_id,
                   e.schema_id, e.version AS record_version, e.user_id, e.event,
                   coalesce((
                       SELECT jsonb_agg(
                                  jsonb_build_object(
                                      'attribute', a.alias, 'attributeId', a.id,
                                      'scope', entry.held -> 'scope',
                                      'oldValue', entry.held -> 'value', 'newValue', NULL)
                                  ORDER BY a.place, entry.place)
                         FROM unnest({schemas}::text[], {ids}::text[], {aliases}::text[])
                              WITH ORDINALITY AS a (schema_id, id, alias, place)
                        CROSS JOIN LATERAL jsonb_array_elements(v.values -> a.id)
                              WITH ORDINALITY AS entry (held, place)
                        WHERE a.schema_id = e.schema_id), '[]') AS changes
              FROM variant v
              JOIN ended e ON e.record_id = v.record_id
        ), variant_ended AS (
            INSERT INTO variant_lives (workspace_id, variant_id, last_version, next_version)
            SELECT $1, id, version, version + 1 FROM variant_gone
                ON CONFLICT (workspace_id, variant_id)
                DO UPDATE SET last_version = excluded.last_version,
                              next_version = excluded.next_version
        ), variant_audited AS (
            INSERT INTO audit (workspace_id, record_id, variant_id, version, schema_id, action,
                               user_id, at, changes)
            SELECT $1, record_id, id, record_version, schema_id, 'delete', user_id, at,
                   changes::json
              FROM variant_gone
            RETURNING 1
        ), variant_staged AS (
            INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
            SELECT $1, 'variant.deleted', g.id, named.event_id,
                   (g.event || jsonb_build_object(
                        'id', named.event_id, 'subject', g.id,
                        'time', to_char(g.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                        'data', (g.event -> 'data') || jsonb_build_object(
                            'variantId', g.id, 'parentId', g.parent_id, 'version', g.version,
                            -- An event that the broker refuses would hold up all others.
                            'changes', CASE WHEN octet_length(g.changes::text) <= {bytes_max}::int
                                            THEN g.changes ELSE '[]' END)))::json,
                   g.version
              FROM variant_gone g
             CROSS JOIN LATERAL (
                   SELECT 'evt-' || substr(md5({seed}::text || g.id), 1, 20) AS event_id
             ) AS named
            RETURNING 1
        )"""  # noqa: S608 - numbers of parameters


def deleted_arguments(gone: Iterable[VariantsDelete]) -> tuple[Any, ...]:
    """The arguments of `deleted_variants`; of one schema, all have the same aliases."""
    aliases = {one.schema_id: one.aliases for one in gone}
    rows = [(schema_id, *each) for schema_id, held in aliases.items() for each in held]
    return (
        [schema_id for schema_id, _, _ in rows],
        [attribute_id for _, attribute_id, _ in rows],
        [alias for _, _, alias in rows],
        new_id("evt"),
        outbox.EVENT_BYTES_MAX - (64 << 10),
    )
