"""Creates, deactivates and deletes API keys, each in one transaction with its event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from aiohttp import web

from auth_service.api_keys import store
from auth_service.api_keys.model import ApiKey, ApiKeyDraft
from auth_service.api_keys.raw_keys import hash_of, new_key
from auth_service.source import SOURCE
from shared.database import Database, sizes
from shared.database.sizes import Bound
from shared.events import Event, EventType
from shared.identity import Identity, Permission
from shared.ids import new_id
from shared.messaging import outbox

API_KEYS_MAX = web.AppKey("api_keys_max", Bound)


async def create(
    db: Database, actor: Identity, draft: ApiKeyDraft, *, bound: Bound
) -> tuple[ApiKey, str]:
    """Create a key; returns it with its text, which is stored nowhere."""
    text = new_key()
    key = ApiKey(
        workspace_id=actor.workspace_id,
        id=draft.id or new_id("apikey"),
        name=draft.name,
        permissions=tuple(word for word in Permission if word in draft.permissions),
        key_hash=hash_of(text),
        active=True,
        version=1,
        created_by=actor.id,
        created_at=datetime.now(UTC),
        last_used_at=None,
    )
    async with db.transaction() as conn:
        await store.insert(conn, key)
        await outbox.stage(conn, _key_event(EventType.KEY_CREATED, key))
        await sizes.check(conn, actor.workspace_id, bound)
    return key, text


async def deactivate(db: Database, actor: Identity, key_id: str) -> ApiKey:
    """Deactivate a key, so that it is refused. Deactivating it again changes nothing."""
    async with db.transaction() as conn:
        key = await store.get_locked(conn, actor.workspace_id, key_id)
        if not key.active:
            return key
        ended = replace(key, active=False, version=key.version + 1)
        await store.deactivate(conn, actor.workspace_id, key_id, ended.version)
        await outbox.stage(conn, _key_event(EventType.KEY_DEACTIVATED, ended))
    return ended


async def delete(db: Database, actor: Identity, key_id: str) -> None:
    """Delete a key, so that it is refused and no longer listed."""
    async with db.transaction() as conn:
        key = await store.get_locked(conn, actor.workspace_id, key_id)
        await store.delete(conn, actor.workspace_id, key_id)
        gone = replace(key, active=False, version=key.version + 1)
        await outbox.stage(conn, _key_event(EventType.KEY_DELETED, gone))


def _key_event(event_type: str, key: ApiKey) -> Event:
    return Event(
        type=event_type,
        source=SOURCE,
        workspace_id=key.workspace_id,
        subject=key.id,
        data={"keyId": key.id, "version": key.version, "keyHash": key.key_hash.hex()},
    )
