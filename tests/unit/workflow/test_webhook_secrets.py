"""What deliveries are signed with when keys of the ring are lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from aiohttp import web

from workflow_service.secrets.vault import VAULT, Place, Vault
from workflow_service.webhooks.commands import secrets_of
from workflow_service.webhooks.model import Webhook

NOW = datetime.now(UTC)
PLACE = Place("ws-1", "webhook", "wh-1")
KEPT, LOST = (Vault({name: name.encode().ljust(32)}) for name in ("kept", "lost"))
WEBHOOK = Webhook(
    workspace_id="ws-1",
    id="wh-1",
    name="Shop",
    description=None,
    url="https://shop.example/",
    events=["entity.created"],
    active=True,
    secret=KEPT.seal("new", PLACE),
    position=0,
    version=1,
    created_at=NOW,
    updated_at=NOW,
    created_by="user-1",
    runs_as="user-1",
    runs_as_kind="user",
    former_secret=KEPT.seal("old", PLACE),
    former_until=NOW + timedelta(hours=1),
)


def signed_with(webhook: Webhook) -> list[str] | None:
    app = web.Application()
    app[VAULT] = KEPT
    return secrets_of(app, webhook)


def test_both_secrets_sign_for_a_day():
    assert signed_with(WEBHOOK) == ["new", "old"]
    over = replace(WEBHOOK, former_until=NOW - timedelta(seconds=1))
    assert signed_with(over) == ["new"]


def test_a_new_secret_signs_where_the_key_of_the_former_one_is_lost():
    assert signed_with(replace(WEBHOOK, former_secret=LOST.seal("old", PLACE))) == ["new"]


def test_nothing_is_signed_where_the_key_of_the_secret_is_lost():
    assert signed_with(replace(WEBHOOK, secret=LOST.seal("new", PLACE))) is None
