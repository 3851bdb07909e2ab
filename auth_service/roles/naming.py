"""What do the names in a role mean? Schemas and attributes are records_service's, so it is asked.

A role is stored with ids, so that an attribute may get another alias without its permissions being
lost (C12). A name that means nothing yet, or that cannot be asked about while records_service is
away, is stored as it was sent: an alias in a role is honoured as well, wherever a role is judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import structlog
from aiohttp import web

from auth_service.roles.model import ANY, AttributePermission, RoleDraft, SchemaPermission
from shared.errors import ServiceUnavailable, UpstreamTimeout, ValidationError, Violation
from shared.upstream import Upstream

log = structlog.get_logger(__name__)

NAMES_ASKED_MAX: Final = 10_000

RECORDS: Final = web.AppKey("records_service", Upstream)


async def with_ids(request: web.Request, draft: RoleDraft) -> RoleDraft:
    """The draft with the id for each name that has one.

    Raises `ValidationError` when an entry names one attribute twice, by its id and its alias.
    """
    entries = draft.schema_permissions
    schemas = {entry.schema_id for entry in entries} - {ANY}
    attributes = {name for entry in entries for name in entry.attribute_permissions} - {ANY}
    if not schemas and not attributes:
        return draft
    try:
        told = await request.app[RECORDS].request(
            "POST",
            "/internal/names",
            json={
                "schemas": sorted(schemas)[:NAMES_ASKED_MAX],
                "attributes": sorted(attributes)[:NAMES_ASKED_MAX],
            },
            request=request,
            reads=True,
        )
    except (ServiceUnavailable, UpstreamTimeout):
        log.warning("names_stay_as_sent", names=len(schemas) + len(attributes))
        return draft
    return draft.model_copy(
        update={
            "schema_permissions": [
                SchemaPermission(
                    schema_id=told["schemas"].get(entry.schema_id, entry.schema_id),
                    attribute_permissions=_by_id(
                        entry.attribute_permissions,
                        told["attributes"],
                        f"/schemaPermissions/{place}/attributePermissions",
                    ),
                )
                for place, entry in enumerate(entries)
            ]
        }
    )


async def attributes_of(
    request: web.Request, schema_id: str, names: Sequence[str] | None
) -> dict[str, str]:
    """Id -> alias of a schema's attributes: of those that are named, or of all.

    Raises `NotFound` for the schema and `ValidationError` for what it does not have.
    """
    attributes = await request.app[RECORDS].request(
        "GET", f"/api/v1/schemas/{quote(schema_id, safe='')}/attributes", request=request
    )
    aliases = {attribute["id"]: attribute["alias"] for attribute in attributes}
    if names is None:
        return aliases
    ids = {alias: attribute_id for attribute_id, alias in aliases.items()}
    ids |= {attribute_id: attribute_id for attribute_id in aliases}
    unknown = [
        Violation(
            f"/attributeIds/{place}",
            f"Field 'attributeIds.{place}' names no attribute of schema '{schema_id}',"
            f" got '{name[:128]}'",
        )
        for place, name in enumerate(names)
        if name not in ids
    ]
    if unknown:
        raise ValidationError.of(unknown)
    return {ids[name]: aliases[ids[name]] for name in names}


def _by_id(
    sent: Mapping[str, AttributePermission], ids: Mapping[str, str], pointer: str
) -> dict[str, AttributePermission]:
    stored: dict[str, AttributePermission] = {}
    for name, word in sent.items():
        attribute_id = ids.get(name, name)
        if attribute_id in stored:
            raise ValidationError.at(
                pointer, f"Attribute '{attribute_id}' is listed twice in 'attributePermissions'"
            )
        stored[attribute_id] = word
    return stored
