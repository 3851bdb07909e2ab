"""Creates, replaces and deletes channels."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from shared.database import DATABASE, Record, sizes
from shared.database.sizes import Bound, Size
from shared.errors import ValidationError, Violation, truncated
from shared.http import call_of, identity_of
from shared.http.versions import Versions, check_version
from shared.ids import check_same_id, new_id
from workflow_service.channels import configs, store
from workflow_service.channels.model import CHANNELS_MAX, KIND, Channel, ChannelDraft
from workflow_service.clients import RECORDS
from workflow_service.connectors.model import CHANNEL_TYPES
from workflow_service.mapping import paths
from workflow_service.mapping.paths import Path, UnusablePath
from workflow_service.outbound.client import OUTBOUND
from workflow_service.secrets.vault import VAULT, Place

KEY_BYTES: Final = 32
SEALED_KIND: Final = "channel"
BOUND: Final = Bound(store.TABLE, "channel", CHANNELS_MAX)


async def create(request: web.Request, draft: ChannelDraft) -> Channel:
    """Create a channel.

    Raises `NotFound` for a schema or catalog that there is not, `ValidationError`, `Conflict` for a
    taken id or alias, `LimitExceeded`.
    """
    app, workspace_id = request.app, identity_of(request).workspace_id
    channel_id = draft.id or new_id("ch")
    config, body = await _checked(request, draft, {})
    async with app[DATABASE].transaction() as conn:
        row = await store.insert(
            conn,
            workspace_id,
            channel_id,
            alias=draft.alias,
            type_name=draft.type,
            body=body,
            config=_sealed(app, workspace_id, channel_id, config),
            key=secrets.token_bytes(KEY_BYTES),
        )
        await sizes.add(conn, workspace_id, store.TABLE, Size(1, 0), BOUND)
    return opened(app, row)


async def replace(
    request: web.Request, channel_id: str, draft: ChannelDraft, expected: Versions
) -> Channel:
    """Replace a channel. A mask in `config` stands for the secret that it hides.

    Raises what `create` raises, `NotFound`, `PreconditionFailed`.
    """
    app, workspace_id = request.app, identity_of(request).workspace_id
    async with app[DATABASE].acquire() as conn:
        seen = opened(app, await store.get(conn, workspace_id, channel_id))
    check_same_id(channel_id, draft.id)
    if draft.type != seen.type:
        raise ValidationError.at(
            "/type",
            f"Field 'type' cannot change: expected '{seen.type}', got '{truncated(draft.type)}'",
        )
    config, body = await _checked(request, draft, seen.config)
    async with app[DATABASE].transaction() as conn:
        known = opened(app, await store.get(conn, workspace_id, channel_id, lock=True))
        check_version(KIND, channel_id, known.version, expected)
        if known.config != seen.config:
            # A secret was replaced meanwhile: what a mask stands for is another one now.
            config = _meant(app, draft, known.config)
        row = await store.update(
            conn,
            workspace_id,
            channel_id,
            alias=draft.alias,
            body=body,
            config=_sealed(app, workspace_id, channel_id, config),
        )
    return opened(app, row)


async def delete(request: web.Request, channel_id: str, expected: Versions) -> None:
    """Delete a channel with its mappings and logs. Raises `NotFound`, `PreconditionFailed`."""
    workspace_id = identity_of(request).workspace_id
    async with request.app[DATABASE].transaction() as conn:
        row = await store.get(conn, workspace_id, channel_id, lock=True)
        check_version(KIND, channel_id, row["version"], expected)
        await store.delete(conn, workspace_id, channel_id)
        await sizes.add(conn, workspace_id, store.TABLE, Size(-1, 0))


def opened(app: web.Application, row: Record) -> Channel:
    """The channel in a row, with its secrets in clear."""
    place = Place(row["workspace_id"], SEALED_KIND, row["id"])
    body = row["body"]
    return Channel(
        workspace_id=row["workspace_id"],
        id=row["id"],
        alias=row["alias"],
        type=row["type"],
        body=orjson.loads(body) if isinstance(body, str) else body,
        config=orjson.loads(app[VAULT].open(row["config"], place)),
        key=row["key"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _sealed(
    app: web.Application, workspace_id: str, channel_id: str, config: Mapping[str, Any]
) -> str:
    place = Place(workspace_id, SEALED_KIND, channel_id)
    return app[VAULT].seal(orjson.dumps(config).decode(), place)


async def _checked(
    request: web.Request, draft: ChannelDraft, stored: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration, and the body with names as ids."""
    app = request.app
    kind = app[CHANNEL_TYPES][draft.type]
    check_mappings(draft, kind.check_target)
    config = _meant(app, draft, stored)
    kind.check(config)
    for name in kind.urls:
        await app[OUTBOUND].check_url(config[name], f"config.{name}")
    names = await app[RECORDS].request(
        "POST",
        "/internal/channel-records/names",
        json={
            "schemaId": draft.schema_id,
            "catalogId": draft.catalog_id,
            "scope": draft.dimension_scope,
            "attributes": [each.source_attribute for each in draft.field_mappings],
        },
        call=call_of(request),
        reads=True,
    )
    mappings = [
        {
            "sourceAttribute": attribute["alias"],
            "attributeId": attribute["id"],
            "targetField": each.target_field,
            "transform": each.transform,
            "optionAs": each.option_as,
        }
        for each, attribute in zip(draft.field_mappings, names["attributes"], strict=True)
    ]
    return config, {
        "name": draft.name,
        "description": draft.description,
        "fieldMappings": mappings,
        "schemaId": names["schemaId"],
        "catalogId": draft.catalog_id,
        "dimensionScope": names["scope"],
        "active": draft.active,
    }


def _meant(app: web.Application, draft: ChannelDraft, stored: Mapping[str, Any]) -> dict[str, Any]:
    kind = app[CHANNEL_TYPES][draft.type]
    return configs.with_secrets(draft.config, stored, kind.plain, kind.servers)


def check_mappings(draft: ChannelDraft, check_target: Any) -> None:
    """Raise `ValidationError` for paths that are none, or that cannot both have a value."""
    faults: list[Violation] = []
    found: list[Path] = []
    for place, each in enumerate(draft.field_mappings):
        try:
            found.append(paths.parse(each.target_field))
            reason = check_target(each.target_field)
        except UnusablePath as fault:
            reason = str(fault)
        if reason is not None:
            faults.append(_fault(place, each.target_field, reason))
    if not faults:
        faults += [
            _fault(
                place,
                draft.field_mappings[place].target_field,
                "cannot have a value beside"
                f" '{truncated(draft.field_mappings[other].target_field)}'",
            )
            for place, other in paths.conflicts(found)
        ]
    ValidationError.check(faults)


def _fault(place: int, target: str, reason: str) -> Violation:
    return Violation(
        f"/fieldMappings/{place}/targetField",
        f"Field 'fieldMappings.{place}.targetField' '{truncated(target)}': {reason}",
    )
