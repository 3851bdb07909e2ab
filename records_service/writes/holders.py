"""Names the record or variant that holds a unique value, to callers who see the value there."""

from __future__ import annotations

from records_service.attributes.unique_keys import UniqueKey
from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.blueprint.compiled_schema import compiled_schema
from records_service.context import Context
from shared.errors import NotFound


async def holder_of(context: Context, taken: UniqueKey) -> str | None:
    """`record 'ent-a'` or `variant 'var-a' of record 'ent-a'`; None if it may not be told."""
    if not context.identity.may_read:
        return None
    async with context.database.acquire() as conn:
        row = await conn.fetchrow(
            """
            SELECT u.record_id, u.variant_id, r.schema_id, r.state_id
              FROM unique_values u
              JOIN records r ON r.workspace_id = $1 AND r.id = u.record_id
             WHERE u.workspace_id = $1 AND u.attribute_id = $2 AND u.scope = $3
               AND u.value_hash = $4
            """,
            context.workspace_id,
            taken.attribute_id,
            taken.scope,
            taken.value_hash,
        )
    if row is None:
        return None
    if context.role is not None:
        blueprint = await context.app[BLUEPRINTS].get(context.database, context.workspace_id)
        try:
            schema = await compiled_schema(blueprint, row["schema_id"])
        except NotFound:
            return None
        state_id = schema.state_id_of(row["state_id"])
        if taken.attribute_id not in schema.access(context.role, state_id).visible:
            return None
    record = f"record '{row['record_id']}'"
    return record if row["variant_id"] is None else f"variant '{row['variant_id']}' of {record}"
