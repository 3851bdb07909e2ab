"""Creates, updates and deletes variants: load, apply, compare, write, as for records."""

from __future__ import annotations

from dataclasses import replace

from records_service.context import Context
from records_service.records.loading import load_options
from records_service.records.model import ValueChange
from records_service.records.relations import check_relations
from records_service.values.entries import Values
from records_service.variants import store
from records_service.variants.loading import (
    LoadedVariant,
    load_variant,
    load_with_ancestors,
    model_of,
)
from records_service.variants.model import (
    LEVELS_MAX,
    VARIANTS_MAX,
    VariantChanges,
    VariantDraft,
)
from records_service.writes import effects
from records_service.writes import variants as writes
from records_service.writes.attempts import one_at_a_time, retry_on_stale, writing
from records_service.writes.changes import (
    changed_unique_keys,
    differences,
    merged,
    unique_keys,
    with_value,
)
from records_service.writes.marking import mark, unmarked
from records_service.writes.merging import changes_since
from records_service.writes.model import Variant
from shared.errors import (
    LimitExceeded,
    NotFound,
    PermissionDenied,
    ValidationError,
    Violation,
    truncated,
)
from shared.ids import check_same_id, new_id
from shared.process.offload import Large


async def create(context: Context, record_id: str, draft: VariantDraft) -> LoadedVariant:
    """Store a new variant below a record, or below a variant of it.

    Raises `NotFound` for the record, `PermissionDenied`, `ValidationError`, `LimitExceeded`, or
    `Conflict` for a taken id or unique value.
    """
    return await _create(context, record_id, draft, draft.id or new_id("var"))


async def create_from_row(context: Context, record_id: str, draft: VariantDraft) -> LoadedVariant:
    """As `create`, of a row of a table: an entry without a value says nothing."""
    variant_id = draft.id or new_id("var")
    return await _create(context, record_id, draft, variant_id, by_scope=True)


@retry_on_stale
async def _create(
    context: Context,
    record_id: str,
    draft: VariantDraft,
    variant_id: str,
    *,
    by_scope: bool = False,
) -> LoadedVariant:
    parent_id = None if draft.parent_id == record_id else draft.parent_id
    async with context.database.acquire() as conn:
        place = await store.find_place(
            conn,
            context.workspace_id,
            record_id,
            parent_id,
            variant_id,
            counted_max=VARIANTS_MAX,
        )
    if place is None:
        raise NotFound.of("Entity", record_id)
    record = place.record
    blueprint, schema, state = await model_of(context, record, place.model_version)
    if context.role is not None and not schema.access(context.role, record.state_id).writable:
        raise PermissionDenied.because(
            "The role needs the permission 'write' on an attribute of the schema"
        )
    if not schema.definition.variant_enabled:
        raise ValidationError.at(
            "",
            f"Records of schema '{truncated(schema.definition.id)}' have no variants:"
            " its field 'variantEnabled' is false",
        )
    path = _path(draft, record_id, parent_id, place)
    is_large = context.has_large_body
    options = await load_options(context, schema, draft.values, is_large=is_large)
    # The record is in its state already, so what the state makes read-only is so here, too.
    values = await context.run(
        is_large,
        merged,
        {},
        draft.values,
        schema,
        context.role,
        state,
        may_read=context.identity.may_read,
        options=options,
        by_scope=by_scope,
    )
    await check_relations(context, schema, {}, values, is_large=is_large)
    now = effects.now()
    variant = Variant(
        workspace_id=context.workspace_id,
        id=variant_id,
        record_id=record_id,
        schema_id=record.schema_id,
        parent_id=parent_id,
        path=path,
        level=len(path) + 1,
        version=place.first_version,
        values=Large(values) if is_large else values,
        created_at=now,
        updated_at=now,
        created_by=context.identity.id,
        updated_by=context.identity.id,
    )
    changes = await context.run(is_large, differences, {}, values, schema)
    keys = await context.run(is_large, unique_keys, schema, values)
    write = await context.run(
        is_large, effects.variant_create_of, context.identity, record, variant, changes
    )
    missing = unmarked(schema, "variants", variant_id, values)
    await mark(context.database, context.workspace_id, missing)
    async with writing(context, record, schema, keys, variant_id) as conn:
        await writes.insert(
            conn,
            record,
            variant,
            keys,
            write,
            model_version=blueprint.version,
            id_was_asked=draft.id is not None,
        )
    return LoadedVariant(variant, record, blueprint, schema, state)


@one_at_a_time("change")
async def update(
    context: Context, variant_id: str, record_id: str, changes: VariantChanges
) -> LoadedVariant:
    """Replace the overrides of the attributes that are named, keep all others.

    Raises `NotFound`, `PermissionDenied`, `PreconditionFailed`, `ValidationError`, or `Conflict`
    for a taken unique value.
    """
    return await update_from_row(context, variant_id, record_id, changes, by_scope=False)


@retry_on_stale
async def update_from_row(
    context: Context,
    variant_id: str,
    record_id: str,
    changes: VariantChanges,
    *,
    by_scope: bool,
) -> LoadedVariant:
    """As `update`, in the transaction of an import; with `by_scope`, only named scopes change.

    It waits for no turn, because it may hold the locks that those before it wait for.
    """
    loaded = await load_with_ancestors(context, record_id, variant_id)
    return await change_loaded(context, loaded, changes, by_scope=by_scope)


async def change_loaded(
    context: Context, loaded: LoadedVariant, changes: VariantChanges, *, by_scope: bool
) -> LoadedVariant:
    """As `update_from_row`, of a variant that was loaded with what it may inherit.

    Raises `StaleModel` or `StaleRecord` if something was changed since.
    """
    variant_id, record_id = loaded.variant.id, loaded.record.id
    version, since = loaded.variant.version, None
    if not context.has_seen(version):
        since = await changes_since(context, "Variant", record_id, version, variant_id)
    _check_fixed_fields(context, loaded.variant, changes)
    is_large = context.has_large_body or loaded.is_large
    related = await loaded.related(context)
    inherited = await context.run(is_large, loaded.inherited, related)
    options = await load_options(context, loaded.schema, changes.values, is_large=is_large)
    values = await context.run(
        is_large,
        merged,
        loaded.variant.values,
        changes.values,
        loaded.schema,
        context.role,
        loaded.state,
        may_read=context.identity.may_read,
        related=related,
        inherited=inherited,
        options=options,
        by_scope=by_scope,
    )
    if since is not None:
        values = await context.run(
            is_large, since.values, loaded.schema, loaded.variant.values, values, changes.values
        )
    return await _save(context, loaded, loaded.variant.values, values, is_large=is_large)


@one_at_a_time("change")
@retry_on_stale
async def set_value(
    context: Context,
    variant_id: str,
    record_id: str,
    name: str,
    change: ValueChange,
    *,
    copy_inherited: bool,
) -> LoadedVariant:
    """Set or remove one attribute's own value in one scope.

    With `copy_inherited`, an attribute without values of its own first gets those that it inherits.
    Raises what `update` raises; `NotFound` also for an attribute that the schema does not have.
    """
    loaded = await load_with_ancestors(context, record_id, variant_id)
    version, since = loaded.variant.version, None
    if not context.has_seen(version):
        since = await changes_since(context, "Variant", record_id, version, variant_id)
    is_large = context.has_large_body or loaded.is_large
    related = await loaded.related(context)
    inherited = await context.run(is_large, loaded.inherited, related)
    own = loaded.variant.values
    attribute_id = loaded.schema.ids_by_name.get(name)
    if copy_inherited and attribute_id not in own and attribute_id in inherited:
        own = {**own, attribute_id: inherited[attribute_id]}
    options = await load_options(context, loaded.schema, change.of(name), is_large=is_large)
    values = await context.run(
        is_large,
        with_value,
        own,
        name,
        change.scope,
        change.value,
        loaded.schema,
        context.role,
        loaded.state,
        related,
        may_read=context.identity.may_read,
        inherited=inherited,
        options=options,
    )
    if since is not None:
        values = await context.run(
            is_large, since.values, loaded.schema, loaded.variant.values, values
        )
    return await _save(context, loaded, own, values, is_large=is_large)


@one_at_a_time("change")
async def delete(context: Context, variant_id: str, record_id: str) -> None:
    """Delete a variant and all below it; their history stays.

    The role must be able to write at least one attribute of the schema, and see all of them.
    Raises `NotFound`, `PermissionDenied` or `PreconditionFailed`.
    """
    await delete_from_row(context, variant_id, record_id)


@retry_on_stale
async def delete_from_row(context: Context, variant_id: str, record_id: str) -> None:
    """As `delete`, in a transaction that may hold the locks that those before it wait for."""
    loaded = await load_variant(context, record_id, variant_id)
    # What only the state hides was hidden by no rule about this role.
    access = loaded.schema.access(context.role, None)
    if context.role is not None and not (access.writable and access.sees_all):
        raise PermissionDenied.because(
            "The role needs the permission 'write' on an attribute of the schema,"
            " and 'read' or 'write' on all others"
        )
    context.check_version("Variant", variant_id, loaded.variant.version)
    gone = effects.variants_delete_of(
        context.identity, loaded.record, loaded.schema.names_in_variants, effects.now()
    )
    async with writing(context, loaded.record, loaded.schema) as conn:
        await writes.delete(
            conn, loaded.record, loaded.variant, gone, model_version=loaded.blueprint.version
        )


async def _save(
    context: Context, loaded: LoadedVariant, known: Values, values: Values, *, is_large: bool
) -> LoadedVariant:
    """Store new values of a loaded variant, unless nothing differs from those that are stored.

    Entries that `known` has were checked when they were stored.
    """
    schema, record, old = loaded.schema, loaded.record, loaded.variant.values
    await check_relations(context, schema, known, values, is_large=is_large)
    changes = await context.run(is_large, differences, old, values, schema)
    if not changes:
        return loaded
    variant = replace(
        loaded.variant,
        values=Large(values) if is_large else values,
        version=loaded.variant.version + 1,
        updated_at=effects.now(loaded.variant.updated_at),
        updated_by=context.identity.id,
    )
    released, added = await context.run(is_large, changed_unique_keys, schema, old, values)
    write = await context.run(
        is_large, effects.variant_update_of, context.identity, record, variant, changes
    )
    missing = unmarked(schema, "variants", variant.id, values)
    await mark(context.database, context.workspace_id, missing)
    async with writing(context, record, schema, added) as conn:
        await writes.update(
            conn, record, variant, released, added, write, model_version=loaded.blueprint.version
        )
    return replace(loaded, variant=variant)


def _path(
    draft: VariantDraft, record_id: str, parent_id: str | None, place: store.Place
) -> list[str]:
    """The ids of the variants above the new one, or `ValidationError` for a wrong parent."""
    if draft.id == record_id:
        raise ValidationError.at(
            "/id", f"Field 'id' must differ from the id of the record, got '{truncated(record_id)}'"
        )
    if parent_id is not None and (place.parent_path is None or parent_id == draft.id):
        raise ValidationError.at(
            "/parentId",
            "Field 'parentId' must be the id of the record or of another variant of it,"
            f" got '{truncated(parent_id)}'",
        )
    path = list(place.parent_path or ())
    if len(path) >= LEVELS_MAX:
        raise ValidationError.at(
            "/parentId", f"Variants may have at most {LEVELS_MAX} levels, got {len(path) + 1}"
        )
    # Those that are being created at this moment are not counted: it bounds, and promises nothing.
    if place.variants >= VARIANTS_MAX:
        raise LimitExceeded(
            f"Entity '{truncated(record_id)}' has {VARIANTS_MAX} variants, the maximum"
        )
    return path


def _check_fixed_fields(context: Context, variant: Variant, changes: VariantChanges) -> None:
    """Raise `ValidationError` for another id, record or parent than the variant has.

    A caller who may not read cannot send the parent: accepted if right and refused if wrong, it
    could be guessed.
    """
    check_same_id(variant.id, changes.id)
    if changes.entity_id not in (None, variant.record_id):
        raise ValidationError.at(
            "/entityId",
            f"Field 'entityId' cannot change: expected '{truncated(variant.record_id)}',"
            f" got '{truncated(changes.entity_id)}'",
        )
    if changes.parent_id is None:
        return
    if not context.identity.may_read:
        raise ValidationError.of(
            [Violation("/parentId", "Field 'parentId' may be sent only by callers who may read")]
        )
    parent_id = variant.parent_id or variant.record_id
    if changes.parent_id != parent_id:
        raise ValidationError.at(
            "/parentId",
            f"Field 'parentId' cannot change: expected '{truncated(parent_id)}',"
            f" got '{truncated(changes.parent_id)}'",
        )
