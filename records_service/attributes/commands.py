"""Creates, replaces and deletes attributes, each in one transaction with its event."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from records_service.attributes import store
from records_service.attributes.counting import check_change
from records_service.attributes.definition import (
    body_of,
    changes_of_form,
    check_no_self_guard,
    option_list_names,
    turned_on,
    with_ids,
)
from records_service.attributes.guards import NeverMatches, as_stored, compares, option_names
from records_service.attributes.model import ATTRIBUTE, Attribute, AttributeDraft
from records_service.attributes.unique_keys import unique_keys_as_json
from records_service.dimensions.model import DIMENSION
from records_service.model_objects import store as parts
from records_service.model_objects.commands import model_change, tell
from records_service.model_objects.model import Kind, ModelObject
from records_service.model_objects.searching import Searcher
from records_service.option_lists.model import OPTION_LIST
from records_service.permissions import store as permissions
from records_service.permissions.reach import check_readable, check_writable, denied, out_of_reach
from records_service.permissions.rules import AttributePermission, Role
from shared.database import Conn
from shared.errors import Conflict, UpstreamTimeout, ValidationError, Violation, truncated
from shared.events import ATTRIBUTE_CREATED, ATTRIBUTE_DELETED, ATTRIBUTE_UPDATED
from shared.http.versions import Versions, check_version
from shared.identity import Identity
from shared.ids import new_id
from shared.process.offload import in_thread

CLAIMED_AT_ONCE: Final = 5_000
CLAIMING_S_MAX: Final = 25
"""Less than a request may take: meanwhile nothing is written in the workspace."""

COMPARED_FORM: Final = frozenset({"type", "multiple", "optionListId", "attributes"})
"""The fields of an attribute that decide which values a guard can find in it."""

_SCHEMA = Kind("schemas", "schema", "Schema", "/api/v1/schemas")


async def create(
    app: web.Application, identity: Identity, role: Role | None, draft: AttributeDraft
) -> ModelObject:
    """Raises `ValidationError`, `Conflict` for a taken id or alias, or `PermissionDenied`.

    A guard may look only at what the role (None: unrestricted) may read wherever it is used.
    """
    workspace_id = identity.workspace_id
    sent = await _body_of(draft)
    async with model_change(app, workspace_id) as conn:
        body, unmatched = await _with_ids(conn, workspace_id, sent)
        await _check_guards(conn, workspace_id, role, body, ())
        _check_matched(unmatched, body, ())
        part = await parts.insert(
            conn, ATTRIBUTE, workspace_id, draft.id or new_id("attr"), draft.alias, body
        )
        naming = await parts.naming(conn, ATTRIBUTE, workspace_id, part)
        await tell(conn, ATTRIBUTE_CREATED, workspace_id, part, **naming)
    return part


async def replace(
    app: web.Application,
    identity: Identity,
    role: Role | None,
    attribute_id: str,
    draft: AttributeDraft,
    expected: Versions,
) -> ModelObject:
    """Raises `Conflict` where stored values stand against it, or `PermissionDenied`.

    What decides how a value is stored stays as it is once there are values; an attribute becomes
    unique only when its stored values already are. Whatever is answered by looking at values needs
    a permission on them, wherever they are: `write` to make them unique, `read` for all else.
    """
    workspace_id = identity.workspace_id
    sent = await _body_of(draft.model_copy(update={"id": attribute_id}))
    searcher = Searcher()

    async def judge(conn: Conn) -> tuple[ModelObject, dict[str, Any]]:
        old = await parts.get(conn, ATTRIBUTE, workspace_id, attribute_id)
        check_version(ATTRIBUTE.title, old.id, old.version, expected)
        body, unmatched = await _with_ids(conn, workspace_id, sent)
        check_no_self_guard(attribute_id, body)
        fixed = changes_of_form(old.body, body)
        if role is not None:
            await _check_rights(conn, workspace_id, role, old, draft.alias, body, fixed)
        _check_matched(unmatched, body, old.body["guards"])
        await _check_still_compared(conn, workspace_id, old, body, fixed)
        if fixed and await store.has_values(conn, workspace_id, attribute_id, searcher):
            raise Conflict(
                f"Field '{fixed[0]}' of attribute '{truncated(old.alias)}'"
                " cannot change while values exist"
            )
        return old, body

    async with model_change(app, workspace_id, judge=judge) as conn:
        old, body = await judge(conn)
        if draft.alias != old.alias:
            await parts.check_may_be_renamed(conn, ATTRIBUTE, workspace_id, old)
            await parts.remember_alias(conn, ATTRIBUTE, workspace_id, old)
        part = await parts.replace(conn, ATTRIBUTE, workspace_id, attribute_id, draft.alias, body)
        await _settle_claims(
            conn,
            workspace_id,
            Attribute.parse(old),
            Attribute.parse(part),
            names_records=identity.unrestricted and identity.may_read,
        )
        naming = (
            await parts.naming(conn, ATTRIBUTE, workspace_id, part)
            if part.alias != old.alias
            else {}
        )
        await tell(conn, ATTRIBUTE_UPDATED, workspace_id, part, **naming)
    return part


async def delete(
    app: web.Application,
    workspace_id: str,
    role: Role | None,
    attribute_id: str,
    expected: Versions,
) -> None:
    """Raises `Conflict` while a schema or a guard refers to it, or `PermissionDenied`.

    The values that records still hold of it go too, so the role must be able to write them.
    """
    async with model_change(app, workspace_id) as conn:
        old = await parts.get(conn, ATTRIBUTE, workspace_id, attribute_id)
        check_version(ATTRIBUTE.title, old.id, old.version, expected)
        await check_writable(
            conn,
            workspace_id,
            role,
            [attribute_id],
            "",
            "This deletes values that your role may not write",
        )
        if await store.is_used(conn, workspace_id, attribute_id):
            raise Conflict.in_use(ATTRIBUTE.title, attribute_id)
        await store.drop_values(conn, workspace_id, attribute_id)
        await store.free(conn, workspace_id, attribute_id)
        await parts.remember_alias(conn, ATTRIBUTE, workspace_id, old)
        await parts.delete(conn, ATTRIBUTE, workspace_id, attribute_id)
        await tell(conn, ATTRIBUTE_DELETED, workspace_id, old)


async def _body_of(draft: AttributeDraft) -> dict[str, Any]:
    """`body_of` beside the event loop: patterns up to their bounds take 30 ms to compile."""
    return await in_thread(body_of, draft)


async def _with_ids(
    conn: Conn, workspace_id: str, body: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[int, str]]:
    """The body with aliases replaced by ids.

    With it come the positions of the guards that would never match, and why.

    Raises `ValidationError` for the first name that nothing has.
    """
    ids: dict[str, dict[str, str]] = {}
    for kind, names, pointer in (
        (DIMENSION, body["dimensionIds"], "/dimensionIds"),
        (OPTION_LIST, option_list_names(body), "/optionListId"),
        (_SCHEMA, [body["targetSchemaId"]] if "targetSchemaId" in body else [], "/targetSchemaId"),
        (ATTRIBUTE, [guard["attributeId"] for guard in body["guards"]], "/guards"),
    ):
        found = await parts.ids_of(conn, kind, workspace_id, names)
        for name in names:
            if name not in found:
                raise ValidationError.at(
                    pointer, f"Field '{pointer[1:]}': {kind.title} '{truncated(name)}' not found"
                )
        ids[kind.table] = found
    named = with_ids(body, ids)
    comparing = [guard for guard in named["guards"] if compares(guard)]
    if not comparing:
        return named, {}
    looked_at = await parts.some(
        conn, ATTRIBUTE, workspace_id, {guard["attributeId"] for guard in comparing}
    )
    forms = {part.id: part.body for part in looked_at.values()}
    options = await store.option_ids(conn, workspace_id, set(option_names(comparing, forms)))
    unmatched: dict[int, str] = {}
    for index, guard in enumerate(named["guards"]):
        if compares(guard):
            part = looked_at[guard["attributeId"]]
            try:
                named["guards"][index] = as_stored(guard, part.body, options)
            except NeverMatches as reason:
                unmatched[index] = (
                    f"A guard compares '{truncated(part.alias)}' with what it never holds: {reason}"
                )
    return named, unmatched


def _check_matched(
    unmatched: Mapping[int, str], body: Mapping[str, Any], known: Sequence[Mapping[str, Any]]
) -> None:
    """Raise `ValidationError` for guards that never match, beside those that are stored already."""
    faults = [
        Violation(f"/guards/{index}/value", message)
        for index, message in unmatched.items()
        if body["guards"][index] not in known
    ]
    if faults:
        raise ValidationError.of(faults)


async def _check_still_compared(
    conn: Conn, workspace_id: str, old: ModelObject, body: Mapping[str, Any], fixed: Sequence[str]
) -> None:
    """Raise `Conflict` where a guard compares values that the attribute could not have any more."""
    widened = {"multiple"} if body["multiple"] else set()
    of_values = [name for name in fixed if name in COMPARED_FORM - widened]
    if not of_values:
        return
    guarded = await store.comparing(conn, workspace_id, old.id)
    if guarded is not None:
        raise Conflict(
            f"Field '{of_values[0]}' of attribute '{truncated(old.alias)}' cannot change while a"
            " guard"
            f" of attribute '{truncated(guarded)}' compares its values"
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
    await _check_guards(conn, workspace_id, role, body, old.body["guards"])
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


async def _check_guards(
    conn: Conn,
    workspace_id: str,
    role: Role | None,
    body: Mapping[str, Any],
    known: Sequence[Mapping[str, Any]],
) -> None:
    """Raise `PermissionDenied` for guards beside the known ones that look at what is hidden."""
    coming = {
        place: guard["attributeId"]
        for place, guard in enumerate(body["guards"])
        if guard not in known
    }
    if role is None or not coming:
        return
    looked_at = set(coming.values())
    # Also where a schema has lost it and records may hold values: it may get the attribute back.
    lost = await permissions.lost(conn, workspace_id, looked_at)
    hidden = await out_of_reach(conn, workspace_id, role, looked_at, AttributePermission.READ, lost)
    if hidden:
        raise denied(
            [f"/guards/{place}/attributeId" for place, one in coming.items() if one in hidden],
            "A guard may refer only to attributes that its author may read",
        )


async def _settle_claims(
    conn: Conn, workspace_id: str, old: Attribute, new: Attribute, *, names_records: bool
) -> None:
    """Reserve the stored values of an attribute that becomes unique, or free them again.

    Which records have the same value is told only to those who may read all of them.
    """
    if old.validation.unique == new.validation.unique:
        return
    if not new.validation.unique:
        await store.free(conn, workspace_id, new.id)
        return
    await _claim_stored(conn, workspace_id, new, names_records=names_records)


async def _claim_stored(
    conn: Conn, workspace_id: str, attribute: Attribute, *, names_records: bool
) -> None:
    """Reserve the values that records hold already, a few thousand at a time.

    However many there are, this process holds one batch, and its event loop none of the work:
    PostgreSQL reads and stores, a thread hashes. Raises `Conflict` when two records have one value.
    """
    deadline = time.monotonic() + CLAIMING_S_MAX
    position, held = await store.entries_after(
        conn, workspace_id, attribute.id, None, rows_max=CLAIMED_AT_ONCE
    )
    while position is not None:
        if time.monotonic() > deadline:
            raise UpstreamTimeout(
                f"Attribute '{truncated(attribute.alias)}' has too many values to become unique"
                " within"
                f" {CLAIMING_S_MAX} seconds, so nothing was changed; retrying does not help"
            )
        claims = await in_thread(unique_keys_as_json, attribute, held)
        pair = await store.claim(conn, workspace_id, attribute.id, claims)
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
            conn, workspace_id, attribute.id, position, rows_max=CLAIMED_AT_ONCE
        )
