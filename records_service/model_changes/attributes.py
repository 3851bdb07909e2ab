"""Replaces and deletes attributes, and does to stored records what follows from it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from records_service.attributes import store as attributes
from records_service.attributes.commands import (
    check_guards,
    check_guards_match,
    checked_body,
    with_resolved_names,
)
from records_service.attributes.counting import check_change
from records_service.attributes.definition import (
    changes_of_form,
    check_no_self_guard,
    turned_on,
    with_filterable,
)
from records_service.attributes.model import ATTRIBUTE, Attribute, AttributeDraft
from records_service.attributes.unique_keys import unique_keys_as_json
from records_service.context import Context
from records_service.model_changes import store
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import model_change, stage_event
from records_service.model_objects.labels import check_labels
from records_service.model_objects.model import ModelObject
from records_service.model_objects.naming import settled
from records_service.model_objects.search_store import VALUE_TABLES, ValueTable
from records_service.model_objects.searching import Searcher
from records_service.permissions.reach import check_readable, check_writable
from records_service.permissions.rules import Role
from records_service.value_removal import commands as value_removal
from records_service.writes import model_changes as writes
from shared.database import Conn
from shared.errors import Conflict, UpstreamTimeout, truncated
from shared.events import EventType
from shared.process.offload import in_thread

RESERVED_AT_ONCE: Final = 5_000
RESERVING_S_MAX: Final = 25
"""Less than a request may take: meanwhile nothing is written in the workspace."""

COMPARED_FORM: Final = frozenset({"type", "multiple", "optionListId", "attributes"})
"""The fields of an attribute that decide which values a guard can find in it."""


async def replace(context: Context, attribute_id: str, draft: AttributeDraft) -> ModelObject:
    """Replace an attribute.

    Raises `Conflict` where stored values stand against it, or `PermissionDenied`.

    What decides how a value is stored stays as it is once there are values; an attribute becomes
    unique only when its stored values already are. Whatever is answered by looking at values needs
    a permission on them, wherever they are: `write` to make them unique, `read` for all else.
    """
    workspace_id = context.workspace_id
    sent = await checked_body(draft.model_copy(update={"id": attribute_id}))
    searcher = Searcher()

    async def judge(conn: Conn) -> tuple[ModelObject, dict[str, Any]]:
        old, body = await drafted(context, conn, attribute_id, draft, sent)
        fixed = changes_of_form(old.body, body)
        await _check_still_compared(conn, workspace_id, old, body, fixed)
        if fixed and await attributes.has_values(conn, workspace_id, attribute_id, searcher):
            raise Conflict(
                f"Field '{fixed[0]}' of attribute '{truncated(old.alias)}'"
                " cannot change while values exist"
            )
        return old, body

    async with model_change(context.app, workspace_id, judge=judge) as conn:
        old, body = await judge(conn)
        if draft.alias != old.alias:
            await model_objects.check_may_be_renamed(conn, ATTRIBUTE, workspace_id, old)
            await model_objects.insert_former_alias(conn, ATTRIBUTE, workspace_id, old)
        attribute = await model_objects.update(
            conn, ATTRIBUTE, workspace_id, attribute_id, draft.alias, body
        )
        await _settle_unique_keys(
            conn,
            workspace_id,
            Attribute.parse(old),
            Attribute.parse(attribute),
            names_records=context.identity.unrestricted and context.identity.may_read,
        )
        naming = (
            await model_objects.naming(conn, ATTRIBUTE, workspace_id, attribute)
            if attribute.alias != old.alias
            else {}
        )
        await stage_event(conn, EventType.ATTRIBUTE_UPDATED, workspace_id, attribute, **naming)
    return attribute


async def drafted(
    context: Context,
    conn: Conn,
    attribute_id: str,
    draft: AttributeDraft,
    sent: Mapping[str, Any],
) -> tuple[ModelObject, dict[str, Any]]:
    """Return the attribute as it is, and the body that it would get.

    `sent` comes from `checked_body`. Raises all that `replace` raises, except for `Conflict`.
    """
    workspace_id, role = context.workspace_id, context.role
    old = await model_objects.get(conn, ATTRIBUTE, workspace_id, attribute_id)
    context.check_version(ATTRIBUTE.title, old.id, old.version)
    await check_labels(conn, workspace_id, draft, old.body)
    whole = with_filterable(settled(sent, old.body), old.body)
    body, unmatched = await with_resolved_names(conn, workspace_id, whole)
    check_no_self_guard(attribute_id, body)
    if role is not None:
        fixed = changes_of_form(old.body, body)
        await _check_rights(conn, workspace_id, role, old, draft.alias, body, fixed)
    check_guards_match(unmatched, body, old.body["guards"])
    return old, body


async def delete(context: Context, attribute_id: str) -> None:
    """Delete an attribute, and the values that records still hold of it.

    Raises `Conflict` while a schema or a guard refers to it, or `PermissionDenied`.

    The role must be able to write these values. If there are many, they are removed afterwards.
    """
    workspace_id = context.workspace_id
    async with model_change(context.app, workspace_id) as conn:
        old = await model_objects.get(conn, ATTRIBUTE, workspace_id, attribute_id)
        context.check_version(ATTRIBUTE.title, old.id, old.version)
        await check_writable(
            conn,
            workspace_id,
            context.role,
            [attribute_id],
            "",
            "This deletes values that your role may not write",
        )
        if await attributes.is_used(conn, workspace_id, attribute_id):
            raise Conflict.in_use(ATTRIBUTE.title, attribute_id)
        await value_removal.remove_or_request(conn, workspace_id, attribute_id)
        await model_objects.insert_former_alias(conn, ATTRIBUTE, workspace_id, old)
        await model_objects.delete(conn, ATTRIBUTE, workspace_id, attribute_id)
        await store.forget_attribute(conn, workspace_id, attribute_id)
        await stage_event(conn, EventType.ATTRIBUTE_DELETED, workspace_id, old)


async def _check_still_compared(
    conn: Conn, workspace_id: str, old: ModelObject, body: Mapping[str, Any], fixed: Sequence[str]
) -> None:
    """Raise `Conflict` where a guard compares values that the attribute could not have any more."""
    widened = {"multiple"} if body["multiple"] else set()
    of_values = [name for name in fixed if name in COMPARED_FORM - widened]
    if not of_values:
        return
    guarded = await attributes.comparing(conn, workspace_id, old.id)
    if guarded is not None:
        raise Conflict(
            f"Field '{of_values[0]}' of attribute '{truncated(old.alias)}' cannot change"
            f" while a guard of attribute '{truncated(guarded)}' compares its values"
        )


async def _check_rights(
    conn: Conn,
    workspace_id: str,
    role: Role,
    old: ModelObject,
    alias: str,
    body: Mapping[str, Any],
    fixed: Sequence[str],
) -> None:
    """Raise `PermissionDenied` if the change could reveal values that the role may not see.

    That concerns new guards, fields that may not change while there are values, everything that can
    change whether completeness counts the attribute (its alias, as a state may require a name
    before an attribute has it, its guards and `required`), and `unique`, which compares values.
    """
    await check_guards(conn, workspace_id, role, body, old.body["guards"])
    if fixed:
        await check_readable(conn, workspace_id, role, [old.id], f"/{fixed[0]}")
    if alias != old.alias:
        await check_readable(conn, workspace_id, role, [old.id], "/alias")
    if any(guard not in body["guards"] for guard in old.body["guards"]):
        await check_readable(conn, workspace_id, role, [old.id], "/guards")
    if turned_on(old.body, body, "required"):
        counted = [old.id, *(guard["attributeId"] for guard in body["guards"])]
        await check_readable(conn, workspace_id, role, counted, "/validation/required")
    for pointer, changes in (
        ("/validation/required", _is_required(old.body) != _is_required(body)),
        ("/guards", old.body["guards"] != body["guards"]),
        ("/alias", alias != old.alias),
    ):
        if changes:
            await check_change(conn, workspace_id, role, old, alias, body, pointer)
            break
    if turned_on(old.body, body, "unique"):
        await check_writable(
            conn,
            workspace_id,
            role,
            [old.id],
            "/validation/unique",
            "This compares values that your role may not write",
        )


def _is_required(body: Mapping[str, Any]) -> bool:
    return bool(body["validation"].get("required"))


async def _settle_unique_keys(
    conn: Conn, workspace_id: str, old: Attribute, new: Attribute, *, names_records: bool
) -> None:
    """Reserve the stored values of an attribute that becomes unique, or free them again.

    Which records have the same value is said only to those who may read all of them.
    """
    if old.validation.unique == new.validation.unique:
        return
    if not new.validation.unique:
        await writes.delete_unique_keys(conn, workspace_id, new.id)
        return
    await _reserve_stored(conn, workspace_id, new, names_records=names_records)


async def _reserve_stored(
    conn: Conn, workspace_id: str, attribute: Attribute, *, names_records: bool
) -> None:
    """Reserve the values that records and variants hold already, a few thousand at a time.

    However many there are, this process holds one batch, and its event loop none of the work:
    PostgreSQL reads and stores, a thread hashes. Raises `Conflict` when two of them have one value.
    """
    deadline = time.monotonic() + RESERVING_S_MAX
    for table in VALUE_TABLES:
        await _reserve_stored_in(
            conn, workspace_id, attribute, table, deadline, names_records=names_records
        )


async def _reserve_stored_in(
    conn: Conn,
    workspace_id: str,
    attribute: Attribute,
    table: ValueTable,
    deadline: float,
    *,
    names_records: bool,
) -> None:
    position, held = await store.entries_after(
        conn, workspace_id, attribute.id, None, rows_max=RESERVED_AT_ONCE, table=table
    )
    while position is not None:
        if time.monotonic() > deadline:
            raise UpstreamTimeout(
                f"Attribute '{truncated(attribute.alias)}' has too many values to become unique"
                f" within {RESERVING_S_MAX} seconds, so nothing was changed; retrying does not help"
            )
        unique_keys = await in_thread(unique_keys_as_json, attribute, held)
        pair = await writes.insert_unique_keys(conn, workspace_id, attribute.id, unique_keys)
        if pair is not None:
            two = (
                f"'{truncated(pair[0])}' and '{truncated(pair[1])}'"
                if names_records
                else "two records"
            )
            raise Conflict(
                f"Attribute '{truncated(attribute.alias)}' cannot become unique:"
                f" {two} have the same value"
            )
        position, held = await store.entries_after(
            conn, workspace_id, attribute.id, position, rows_max=RESERVED_AT_ONCE, table=table
        )
