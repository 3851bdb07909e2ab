"""Creates attributes, and checks their drafts; `model_changes` replaces and deletes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from records_service.attributes import store
from records_service.attributes.definition import (
    body_of,
    names_in,
    with_ids,
)
from records_service.attributes.guards import NeverMatches, as_stored, compares, option_names
from records_service.attributes.model import ATTRIBUTE, AttributeDraft
from records_service.context import Context
from records_service.dimensions.model import DIMENSION
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import model_change, stage_event
from records_service.model_objects.labels import check_labels
from records_service.model_objects.model import Kind, ModelObject
from records_service.model_objects.naming import settled
from records_service.option_lists.model import OPTION_LIST
from records_service.permissions import store as permissions
from records_service.permissions.reach import denied, out_of_reach
from records_service.permissions.rules import AttributePermission, Role
from shared.database import Conn
from shared.errors import Conflict, ValidationError, Violation, truncated
from shared.events import EventType
from shared.ids import new_id
from shared.process.offload import in_thread

_SCHEMA = Kind("schemas", "schema", "Schema", "/api/v1/schemas")


async def create(context: Context, draft: AttributeDraft) -> ModelObject:
    """Create an attribute.

    Raises `ValidationError`, `Conflict` for a taken id or alias, or `PermissionDenied`. An id is
    also taken while values of a deleted attribute are being removed.

    A guard may look only at what the role (None: unrestricted) may read wherever it is used.
    """
    workspace_id = context.workspace_id
    sent = await checked_body(draft)
    async with model_change(context.app, workspace_id) as conn:
        if draft.id is not None and await store.is_being_removed(conn, workspace_id, draft.id):
            raise Conflict(
                f"Attribute '{truncated(draft.id)}' was deleted and its values are still being"
                " removed: use another id, or try again later"
            )
        await check_labels(conn, workspace_id, draft)
        body, unmatched = await with_resolved_names(conn, workspace_id, settled(sent))
        await check_guards(conn, workspace_id, context.role, body, ())
        check_guards_match(unmatched, body, ())
        attribute = await model_objects.insert(
            conn, ATTRIBUTE, workspace_id, draft.id or new_id("attr"), draft.alias, body
        )
        naming = await model_objects.naming(conn, ATTRIBUTE, workspace_id, attribute)
        await stage_event(conn, EventType.ATTRIBUTE_CREATED, workspace_id, attribute, **naming)
    return attribute


async def checked_body(draft: AttributeDraft) -> dict[str, Any]:
    """`body_of` beside the event loop: patterns up to their bounds take 30 ms to compile."""
    return await in_thread(body_of, draft)


async def with_resolved_names(
    conn: Conn, workspace_id: str, body: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[int, str]]:
    """The body with aliases replaced by ids.

    With it come the positions of the guards that would never match, and why.

    Raises `ValidationError` for the first name that nothing has.
    """
    ids: dict[str, dict[str, str]] = {}
    for kind, field, named_there in (
        (DIMENSION, "dimensionIds", [("/dimensionIds", name) for name in body["dimensionIds"]]),
        (OPTION_LIST, "optionListId", list(names_in(body, "optionListId"))),
        (_SCHEMA, "targetSchemaId", list(names_in(body, "targetSchemaId"))),
        (ATTRIBUTE, "guards", [("/guards", guard["attributeId"]) for guard in body["guards"]]),
    ):
        names = [name for _, name in named_there]
        found = await model_objects.ids_of(conn, kind, workspace_id, names)
        for pointer, name in named_there:
            if name not in found:
                raise ValidationError.at(
                    pointer, f"Field '{field}': {kind.title} '{truncated(name)}' not found"
                )
        ids[kind.table] = found
    named = with_ids(body, ids)
    comparing = [guard for guard in named["guards"] if compares(guard)]
    if not comparing:
        return named, {}
    looked_at = await model_objects.get_many(
        conn, ATTRIBUTE, workspace_id, {guard["attributeId"] for guard in comparing}
    )
    for guard in comparing:
        if guard["attributeId"] not in looked_at:
            # Deleted since its id was looked up: before the model lock each statement sees more.
            raise ValidationError.at(
                "/guards",
                f"Field 'guards': {ATTRIBUTE.title} '{truncated(guard['attributeId'])}' not found",
            )
    forms = {other.id: other.body for other in looked_at.values()}
    options = await store.option_ids(conn, workspace_id, set(option_names(comparing, forms)))
    unmatched: dict[int, str] = {}
    for index, guard in enumerate(named["guards"]):
        if compares(guard):
            other = looked_at[guard["attributeId"]]
            try:
                named["guards"][index] = as_stored(guard, other.body, options)
            except NeverMatches as reason:
                unmatched[index] = (
                    f"A guard compares '{truncated(other.alias)}' with what it never holds:"
                    f" {reason}"
                )
    return named, unmatched


def check_guards_match(
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


async def check_guards(
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
