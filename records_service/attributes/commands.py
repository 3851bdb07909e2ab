"""Creates, replaces and deletes attributes, each in one transaction with its event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from records_service.attributes import store
from records_service.attributes.definition import body_of, option_list_ids
from records_service.attributes.model import ATTRIBUTE, Attribute, AttributeDraft
from records_service.attributes.uniqueness import Claim, claims_of
from records_service.dimensions.model import DIMENSION
from records_service.option_lists.model import OPTION_LIST
from records_service.parts import store as parts
from records_service.parts.commands import changing_model, tell
from records_service.parts.model import Kind, Part, check_version
from shared.errors import Conflict, ValidationError
from shared.events import ATTRIBUTE_CREATED, ATTRIBUTE_DELETED, ATTRIBUTE_UPDATED
from shared.ids import new_id
from shared.postgres import Conn

_SCHEMA = Kind("schemas", "schema", "Schema")


async def create(app: web.Application, workspace_id: str, draft: AttributeDraft) -> Part:
    """Raises `ValidationError`, or `Conflict` for a taken id or alias."""
    body = body_of(draft)
    async with changing_model(app, workspace_id) as conn:
        await _check_references(conn, workspace_id, body)
        part = await parts.insert(
            conn, ATTRIBUTE, workspace_id, draft.id or new_id("attr"), draft.alias, body
        )
        await tell(conn, ATTRIBUTE_CREATED, workspace_id, part)
    return part


async def replace(
    app: web.Application,
    workspace_id: str,
    attribute_id: str,
    draft: AttributeDraft,
    expected: frozenset[int] | None,
) -> Part:
    """Raises `Conflict` where stored values stand against it.

    The type and the dimensions stay once there are values; an attribute becomes unique only when
    its stored values already are.
    """
    draft = draft.model_copy(update={"id": attribute_id})
    body = body_of(draft)
    async with changing_model(app, workspace_id) as conn:
        old = await parts.get(conn, ATTRIBUTE, workspace_id, attribute_id)
        check_version(ATTRIBUTE.title, old.id, old.version, expected)
        await _check_references(conn, workspace_id, body)
        fixed = [
            name
            for name in ("type", "dimensionIds", "multiple", "optionListId", "targetSchemaId")
            if _differs(old.body, body, name)
        ]
        if fixed and await store.has_values(conn, workspace_id, attribute_id):
            raise Conflict(
                f"Field '{fixed[0]}' of attribute '{old.alias}' cannot change while values exist"
            )
        part = await parts.replace(conn, ATTRIBUTE, workspace_id, attribute_id, draft.alias, body)
        await _settle_claims(conn, workspace_id, Attribute.parse(old), Attribute.parse(part))
        await tell(conn, ATTRIBUTE_UPDATED, workspace_id, part)
    return part


async def delete(
    app: web.Application, workspace_id: str, attribute_id: str, expected: frozenset[int] | None
) -> None:
    """Raises `Conflict` while a schema or a guard refers to it."""
    async with changing_model(app, workspace_id) as conn:
        old = await parts.get(conn, ATTRIBUTE, workspace_id, attribute_id)
        check_version(ATTRIBUTE.title, old.id, old.version, expected)
        if await store.is_used(conn, workspace_id, attribute_id):
            raise Conflict.in_use(ATTRIBUTE.title, attribute_id)
        await store.drop_values(conn, workspace_id, attribute_id)
        await store.free(conn, workspace_id, attribute_id)
        await parts.delete(conn, ATTRIBUTE, workspace_id, attribute_id)
        await tell(conn, ATTRIBUTE_DELETED, workspace_id, old)


async def _check_references(conn: Conn, workspace_id: str, body: Mapping[str, Any]) -> None:
    """Raise `ValidationError` for the first thing it refers to that does not exist."""
    references = (
        (DIMENSION, body["dimensionIds"], "/dimensionIds"),
        (OPTION_LIST, option_list_ids(dict(body)), "/optionListId"),
        (_SCHEMA, [body[n] for n in ("targetSchemaId",) if n in body], "/targetSchemaId"),
        (ATTRIBUTE, [guard["attributeId"] for guard in body["guards"]], "/guards"),
    )
    for kind, ids, pointer in references:
        missing = await parts.unknown(conn, kind, workspace_id, ids)
        if missing is not None:
            raise ValidationError.at(
                pointer, f"Field '{pointer[1:]}': {kind.title} '{missing[:128]}' not found"
            )


def _differs(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> bool:
    """Whether a field that stored values depend on would change; the order of dimensions may."""
    if name == "dimensionIds":
        return set(old[name]) != set(new[name])
    return old.get(name) != new.get(name)


async def _settle_claims(conn: Conn, workspace_id: str, old: Attribute, new: Attribute) -> None:
    """Reserve the stored values of an attribute that becomes unique, or free them again."""
    if old.validation.unique == new.validation.unique:
        return
    if not new.validation.unique:
        await store.free(conn, workspace_id, new.id)
        return
    holders: dict[tuple[str, bytes], str] = {}
    claims: list[tuple[str, Claim]] = []
    for record_id, entries in await store.stored_entries(conn, workspace_id, new.id):
        for claim in claims_of(new, entries):
            holder = holders.setdefault((claim.scope, claim.value_hash), record_id)
            if holder != record_id:
                raise Conflict(
                    f"Attribute '{new.alias}' cannot become unique:"
                    f" '{holder}' and '{record_id}' have the same value"
                )
            claims.append((record_id, claim))
    await store.claim(conn, workspace_id, claims)
