"""Replaces and deletes attributes, and does to stored records what follows from it."""

from __future__ import annotations

import dataclasses
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
from records_service.attributes.model import (
    ATTRIBUTE,
    UNIQUE_PENDING,
    UNIQUE_SINCE,
    Attribute,
    AttributeDraft,
)
from records_service.context import Context
from records_service.conversions import commands as conversions
from records_service.model_changes import store
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import model_change, stage_event
from records_service.model_objects.labels import check_labels
from records_service.model_objects.model import ModelObject
from records_service.model_objects.naming import settled
from records_service.model_objects.searching import Searcher
from records_service.model_objects.value_index import VALUE_INDEX
from records_service.permissions.reach import check_readable, check_writable
from records_service.permissions.rules import Role
from records_service.search_index import building
from records_service.search_index.store import schemas_having
from records_service.search_scores import store as scores
from records_service.search_texts import store as search_texts
from records_service.uniqueness import commands as uniqueness
from records_service.value_removal import commands as value_removal
from records_service.value_uses import store as value_uses
from shared.database import Conn
from shared.errors import Conflict, some_of, truncated
from shared.events import EventType
from shared.timestamps import format_timestamp

COMPARED_FORM: Final = frozenset({"type", "multiple", "optionListId", "attributes"})
"""The fields of an attribute that decide which values a guard can find in it."""


async def replace(
    context: Context, attribute_id: str, draft: AttributeDraft
) -> tuple[ModelObject, str | None]:
    """Replace an attribute; with it, the id of the job that finishes the change, if one does.

    Raises `Conflict` where stored values stand against it, or `PermissionDenied`.

    What decides how a value is stored stays as it is once there are values; an attribute becomes
    unique only when its stored values already are (`uniqueness`). Whatever is answered by looking
    at values needs a permission on them, wherever they are: `write` to make them unique, `read` for
    all else.
    """
    workspace_id = context.workspace_id
    sent = await checked_body(draft.model_copy(update={"id": attribute_id}))
    searcher = Searcher(context.app[VALUE_INDEX])

    async def judge(conn: Conn) -> tuple[ModelObject, dict[str, Any], bool]:
        old, body = await drafted(context, conn, attribute_id, draft, sent)
        fixed = changes_of_form(old.body, body)
        await _check_still_compared(conn, workspace_id, old, body, fixed)
        if fixed and await attributes.has_values(conn, workspace_id, attribute_id, searcher):
            raise Conflict(
                f"Field '{fixed[0]}' of attribute '{truncated(old.alias)}'"
                " cannot change while values exist"
            )
        return old, body, bool(fixed)

    async with model_change(context.app, workspace_id, judge=judge) as conn:
        old, body, has_no_values = await judge(conn)
        if has_no_values:
            await value_uses.forget_attribute(conn, workspace_id, attribute_id)
        if draft.alias != old.alias:
            await model_objects.check_may_be_renamed(conn, ATTRIBUTE, workspace_id, old)
            await model_objects.insert_former_alias(conn, ATTRIBUTE, workspace_id, old)
        body, job_id = await _settle_uniqueness(conn, context, old, draft.alias, body)
        attribute = await model_objects.update(
            conn, ATTRIBUTE, workspace_id, attribute_id, draft.alias, body
        )
        await building.attribute_changed(conn, workspace_id, old, attribute)
        if old.body["guards"] != body["guards"]:
            # What the new ones look at may have been written while nothing looked at it.
            having = await schemas_having(conn, workspace_id, attribute_id)
            await scores.forget(conn, workspace_id, having)
        naming = (
            await model_objects.naming(conn, ATTRIBUTE, workspace_id, attribute)
            if attribute.alias != old.alias
            else {}
        )
        await stage_event(conn, EventType.ATTRIBUTE_UPDATED, workspace_id, attribute, **naming)
    return attribute, job_id


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


async def delete(context: Context, attribute_id: str) -> str | None:
    """Delete an attribute, and the values that records still hold of it.

    Returns the id of the job that removes the rest of them, if there is any.

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
        schemas, guarded = await attributes.uses_of(conn, workspace_id, attribute_id)
        if schemas or guarded:
            by = (
                f"schemas have it ({some_of(schemas)})"
                if schemas
                else f"guards of attributes look at it ({some_of(guarded)})"
            )
            raise Conflict.in_use(ATTRIBUTE.title, attribute_id, context.told(by))
        await uniqueness.forget(conn, workspace_id, attribute_id)
        await conversions.cancel(conn, workspace_id, attribute_id, "The attribute was deleted")
        job_id = await value_removal.remove_or_request(conn, context.identity, attribute_id)
        await model_objects.insert_former_alias(conn, ATTRIBUTE, workspace_id, old)
        await model_objects.delete(conn, ATTRIBUTE, workspace_id, attribute_id)
        await store.forget_attribute(conn, workspace_id, attribute_id)
        await value_uses.forget_attribute(conn, workspace_id, attribute_id)
        await building.attribute_deleted(conn, workspace_id, attribute_id)
        await search_texts.forget_attribute(conn, workspace_id, attribute_id)
        await stage_event(conn, EventType.ATTRIBUTE_DELETED, workspace_id, old)
    return job_id


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


async def _settle_uniqueness(
    conn: Conn, context: Context, old: ModelObject, alias: str, body: dict[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """Reserve the stored values of an attribute that becomes unique, or free them again.

    Returns the body with what is known of it, and the id of the job that does the rest, if any.
    Which records have the same value is said only to those who may read all of them.
    """
    if turned_on(old.body, body, "unique"):
        job_id = await uniqueness.begin(
            conn,
            context.identity,
            Attribute.parse(dataclasses.replace(old, alias=alias, body=body)),
            names_records=context.identity.unrestricted and context.identity.may_read,
        )
        return (body if job_id is None else body | {UNIQUE_PENDING: True}), job_id
    if turned_on(body, old.body, "unique"):
        reason = "The attribute is not unique any more"
        await uniqueness.end(conn, context.workspace_id, old.id, reason)
    return _with_uniqueness(body, old), None


def _with_uniqueness(body: dict[str, Any], old: ModelObject) -> dict[str, Any]:
    """The body with what is known of an attribute that was unique and is so still."""
    if not (body["validation"].get("unique") and old.body["validation"].get("unique")):
        return body
    if UNIQUE_PENDING in old.body:
        return body | {UNIQUE_PENDING: True}
    since = old.body.get(UNIQUE_SINCE) or format_timestamp(old.updated_at)
    return body | {UNIQUE_SINCE: since}
