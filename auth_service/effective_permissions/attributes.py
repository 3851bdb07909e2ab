"""The attributes of a schema, by asking records_service."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from aiohttp import web

from auth_service.clients import RECORDS
from auth_service.permissions.rules import Names
from shared.errors import ValidationError, Violation, truncated
from shared.http import call_of


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
