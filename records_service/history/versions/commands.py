"""Writes the values of an earlier version again, as the next version of the record."""

from __future__ import annotations

from collections.abc import Sequence

from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.context import Context
from records_service.history.versions.finding import find_version
from records_service.history.versions.walk import of_todays_types, visible_then_and_now
from records_service.records.commands import save
from records_service.records.loading import LoadedRecord, load_options, load_record
from records_service.records.relations import find_related
from records_service.values.entries import Entries, Values
from records_service.writes.attempts import one_at_a_time, retry_on_stale
from records_service.writes.changes import differences, merged
from records_service.writes.model import Record
from shared.errors import PermissionDenied, ValidationError, truncated
from shared.process.offload import Large


@one_at_a_time("change")
@retry_on_stale
async def restore(context: Context, record_id: str, version: int) -> LoadedRecord:
    """An update with the values of this version; the record as it is afterwards.

    Written is what the caller sees of that version, checked as if it were sent today. What was
    hidden from the caller, or is today, stays as it is; so do the state and the external key.
    Raises what `find_version` and `records.commands.update` raise.
    """
    loaded = await load_record(context, record_id)
    if not context.identity.may_read:
        raise PermissionDenied.because("Only callers who may read can restore a version")
    record, schema = loaded.record, loaded.schema
    context.check_version("Entity", record_id, record.version)
    former = (await find_version(context, loaded, version)).record
    is_large = isinstance(record.values, Large) or isinstance(former.values, Large)
    related = await find_related(
        context, [(record.values, schema), (former.values, schema)], is_large=is_large
    )
    # A relation to a deleted record is no value, neither to read nor to write.
    then = await context.run(is_large, related.living, former.values, schema.relations)
    wanted = await context.run(is_large, _wanted, context, loaded, former, then)
    options = await load_options(context, schema, wanted, is_large=is_large)
    try:
        values = await context.run(
            is_large,
            merged,
            record.values,
            wanted,
            schema,
            context.role,
            loaded.state,
            related=related,
            options=options,
        )
    except ValidationError as error:
        retyped = await context.run(is_large, _of_other_types, then, schema)
        raise _refusal(version, error, retyped) from None
    return await save(context, loaded, values, record.external_key, is_large=is_large)


def _wanted(
    context: Context, loaded: LoadedRecord, former: Record, then: Values
) -> dict[str, Entries]:
    """Alias -> entries, of the visible attributes whose values differ."""
    record, schema = loaded.record, loaded.schema
    visible = visible_then_and_now(schema, context.role, former.state_id, record.state_id)
    changed = {change["attributeId"] for change in differences(record.values, then, schema)}
    return {
        alias: then.get(attribute_id, [])
        for attribute_id, alias in visible.items()
        if attribute_id in changed
    }


def _of_other_types(then: Values, schema: CompiledSchema) -> list[str]:
    """Aliases of the attributes whose values of that version are of another type than today's."""
    shown = of_todays_types(then, schema)
    return [
        attribute.alias
        for attribute_id, attribute in schema.attributes.items()
        if len(shown.get(attribute_id, ())) < len(then.get(attribute_id, ()))
    ]


def _refusal(version: int, error: ValidationError, retyped: Sequence[str]) -> ValidationError:
    more = len(error.violations) - 1
    besides = f" (and {more} more)" if more else ""
    if retyped:
        # What a conversion has made of values is stored in no version before it (ADR 60).
        besides += f". The type of '{truncated(retyped[0])}' has changed since version {version}"
    return ValidationError(
        f"Version {version} cannot be restored: {error.message}{besides}",
        violations=error.violations,
    )
