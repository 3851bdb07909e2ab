"""Whether a caller may see all that a channel sends, and so what became of it for others."""

from __future__ import annotations

from collections.abc import Sequence

from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.channel_records.model import ChannelNames
from records_service.channel_records.names import look_up
from records_service.context import Context
from records_service.permissions.rules import Role
from shared.errors import NotFound, ValidationError
from shared.process.offload import in_thread


async def sees_all(context: Context, asked: ChannelNames) -> bool:
    """Whether the catalog is for the caller, and no attribute is hidden in any schema and state."""
    if context.role is None:
        return True
    try:
        named = await look_up(context, asked)
    except (NotFound, ValidationError):
        return False
    known = named.blueprint.schemas if named.schema_id is None else (named.schema_id,)
    schemas = [await compiled_schema(named.blueprint, each) for each in known]
    mapped = frozenset(each.id for each in named.attributes)
    return await in_thread(_nothing_hidden, context.role, schemas, mapped)


def _nothing_hidden(role: Role, schemas: Sequence[CompiledSchema], mapped: frozenset[str]) -> bool:
    for schema in schemas:
        states = () if schema.workflow is None else schema.workflow.states
        of_schema = mapped & schema.attributes.keys()
        if any(of_schema - schema.access(role, state).visible.keys() for state in (None, *states)):
            return False
    return True
