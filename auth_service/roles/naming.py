"""Resolves the names of schemas and attributes in a role, by asking records_service.

A role is stored with ids, so that an attribute may get another alias without its permissions being
lost. Nothing is guessed: while records_service cannot say what names mean, a role that has any
is not saved. A name that nothing has yet is stored as it was sent, and remembered as unknown;
`renaming.py` says what becomes of it when something gets that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from auth_service.roles.model import (
    ANY,
    AttributePermission,
    RoleDraft,
    RoleNames,
    SchemaPermission,
)
from auth_service.roles.resolution import Names
from shared.errors import ServiceUnavailable, UpstreamTimeout, ValidationError, Violation, truncated
from shared.http import call_of
from shared.http.client import Upstream

NAMES_ASKED_MAX: Final = 10_000
RETRY_AFTER_S: Final = 2

RECORDS: Final = web.AppKey("records_service", Upstream)


@dataclass(frozen=True, slots=True)
class Meaning:
    """Name -> id, of those names that something has, when the model was at this version."""

    schemas: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    model_version: int = 0

    def unknown(self, names: RoleNames) -> RoleNames:
        """The names that are not ids."""
        return RoleNames(
            names.schemas - set(self.schemas.values()),
            names.attributes - set(self.attributes.values()),
        )


def names_in(draft: RoleDraft) -> RoleNames:
    """Every name in the draft, `*` left out."""
    entries = draft.schema_permissions
    return RoleNames(
        frozenset(entry.schema_id for entry in entries) - {ANY},
        frozenset(name for entry in entries for name in entry.attribute_permissions) - {ANY},
    )


class Dictionary:
    """records_service, asked what names mean on behalf of one request."""

    def __init__(self, request: web.Request) -> None:
        self._request = request

    async def meaning(self, names: RoleNames) -> Meaning:
        """The id behind each name. `ServiceUnavailable` if records_service cannot be asked."""
        schemas: dict[str, str] = {}
        attributes: dict[str, str] = {}
        versions: list[int] = []
        left_schemas, left_attributes = iter(sorted(names.schemas)), iter(sorted(names.attributes))
        while True:
            some_schemas = list(islice(left_schemas, NAMES_ASKED_MAX))
            some_attributes = list(islice(left_attributes, NAMES_ASKED_MAX))
            if not some_schemas and not some_attributes:
                return Meaning(schemas, attributes, min(versions, default=0))
            answer = await self._ask(some_schemas, some_attributes)
            schemas |= answer["schemas"]
            attributes |= answer["attributes"]
            # The oldest version: an event arrives for everything that was renamed since.
            versions.append(answer.get("modelVersion", 0))

    async def _ask(self, schemas: Sequence[str], attributes: Sequence[str]) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = await self._request.app[RECORDS].request(
                "POST",
                "/internal/names",
                json={"schemas": schemas, "attributes": attributes},
                call=call_of(self._request),
                reads=True,
            )
        except (ServiceUnavailable, UpstreamTimeout):
            # Nothing was stored, so it may be sent again, also where the question came too late.
            raise ServiceUnavailable(
                "Cannot resolve the names in this role at the moment",
                retry_after_s=RETRY_AFTER_S,
            ) from None
        return answer


def with_ids(draft: RoleDraft, meaning: Meaning) -> RoleDraft:
    """The draft with the id for each name that has one.

    Raises `ValidationError` when an entry names one attribute twice, by its id and its alias.
    """
    return draft.model_copy(
        update={
            "schema_permissions": [
                SchemaPermission(
                    schema_id=meaning.schemas.get(entry.schema_id, entry.schema_id),
                    attribute_permissions=_by_id(
                        entry.attribute_permissions,
                        meaning.attributes,
                        f"/schemaPermissions/{place}/attributePermissions",
                    ),
                )
                for place, entry in enumerate(draft.schema_permissions)
            ]
        }
    )


async def attributes_of(
    request: web.Request, schema_id: str, names: Sequence[str] | None
) -> tuple[Names, list[Names]]:
    """What a schema and its attributes are and were called: those that are named, or all.

    Raises `NotFound` for the schema and `ValidationError` for what it does not have.
    """
    answer = await request.app[RECORDS].request(
        "GET", f"/internal/schemas/{quote(schema_id, safe='')}/names", call=call_of(request)
    )
    schema = Names(answer["id"], tuple(answer["aliases"]))
    attributes = {
        each["id"]: Names(each["id"], tuple(each["aliases"])) for each in answer["attributes"]
    }
    if names is None:
        return schema, list(attributes.values())
    ids = {each["alias"]: each["id"] for each in answer["attributes"]}
    ids |= {attribute_id: attribute_id for attribute_id in attributes}
    ValidationError.check(
        Violation(
            f"/attributeIds/{place}",
            f"Field 'attributeIds.{place}' names no attribute of schema '{truncated(schema_id)}',"
            f" got '{truncated(name)}'",
        )
        for place, name in enumerate(names)
        if name not in ids
    )
    return schema, [attributes[one] for one in dict.fromkeys(ids[name] for name in names)]


def _by_id(
    sent: Mapping[str, AttributePermission], ids: Mapping[str, str], pointer: str
) -> dict[str, AttributePermission]:
    stored: dict[str, AttributePermission] = {}
    for name, word in sent.items():
        attribute_id = ids.get(name, name)
        if attribute_id in stored:
            raise ValidationError.at(
                pointer,
                f"Attribute '{truncated(attribute_id)}' is listed twice in 'attributePermissions'",
            )
        stored[attribute_id] = word
    return stored
