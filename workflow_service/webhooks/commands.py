"""Creates, changes and deletes webhooks."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from shared.database import DATABASE
from shared.errors import Conflict, ValidationError, truncated
from shared.http import identity_of
from shared.http.versions import Versions, check_version
from shared.identity import Identity
from shared.ids import check_same_id, new_id
from workflow_service import acting
from workflow_service.clients import Clients
from workflow_service.deliveries import store as deliveries
from workflow_service.outbound.client import OUTBOUND
from workflow_service.secrets.masks import kept_or_new, mask
from workflow_service.secrets.vault import VAULT, CannotOpen, Place
from workflow_service.webhooks import signing, store
from workflow_service.webhooks.model import NewSecret, Webhook, WebhookChanges, WebhookDraft

_SECRET_BYTES: Final = 24


async def create(request: web.Request, draft: WebhookDraft) -> Webhook:
    """A new webhook, to which everything is sent that happens from now on.

    Raises `Conflict` for a taken id, `LimitExceeded`, and `ValidationError` for its URL or secret,
    and for an API key that may not read what would be sent.
    """
    identity = identity_of(request)
    _check_reads(identity)
    if draft.secret is not None:
        signing.check(kept_or_new(draft.secret, None, "secret"), "secret")
    await request.app[OUTBOUND].check_url(draft.url, "url")
    await acting.grant(request)
    position = await Clients(request, identity.token).feed_position()
    webhook_id = draft.id or new_id("wh")
    now = datetime.now(UTC)
    webhook = Webhook(
        workspace_id=identity.workspace_id,
        id=webhook_id,
        name=draft.name,
        description=draft.description,
        url=draft.url,
        events=_once(draft.events),
        active=draft.active,
        secret=_sealed(request.app, identity.workspace_id, webhook_id, draft.secret),
        position=position,
        version=1,
        created_at=now,
        updated_at=now,
        created_by=identity.id,
        runs_as=identity.id,
        runs_as_kind="api_key" if identity.kind == "api_key" else "user",
    )
    async with request.app[DATABASE].transaction() as conn:
        await store.insert(conn, webhook)
    return webhook


async def change(
    request: web.Request, webhook_id: str, changes: WebhookChanges, expected: Versions
) -> Webhook:
    """Change a webhook, which has the rights of the caller from now on.

    Raises `NotFound`, `PreconditionFailed`, and what `create` raises for its fields.
    """
    identity = identity_of(request)
    check_same_id(webhook_id, changes.id)
    sent = changes.model_dump(exclude_unset=True)
    for field in ("name", "url", "events", "active"):
        if field in sent and sent[field] is None:
            raise ValidationError.at(f"/{field}", f"Field '{field}' cannot be null")
    async with request.app[DATABASE].acquire() as conn:
        await store.get(conn, identity.workspace_id, webhook_id)
    _check_reads(identity)
    if changes.url is not None:
        await request.app[OUTBOUND].check_url(changes.url, "url")
    await acting.grant(request)
    now_in_feed = await Clients(request, identity.token).feed_position()
    async with request.app[DATABASE].transaction() as conn:
        old = await store.get(conn, identity.workspace_id, webhook_id, lock=True)
        check_version("Webhook", webhook_id, old.version, expected)
        new = _changed(request.app, old, sent)
        new = replace(
            new,
            runs_as=identity.id,
            runs_as_kind="api_key" if identity.kind == "api_key" else "user",
        )
        if new.active and not old.active:
            # What happened while it was paused is not sent.
            new = replace(new, position=now_in_feed, paused_reason=None, failing_since=None)
        if not new.active and "active" in sent:
            new = replace(new, paused_reason=None)
        await store.update(conn, new)
        if old.active and not new.active:
            # Here, and not when a process that sends hears of it: none may run at the moment.
            await deliveries.drop(conn, old.workspace_id, old.id)
    return new


async def delete(request: web.Request, webhook_id: str, expected: Versions) -> None:
    """Delete a webhook with its deliveries. Raises `NotFound` or `PreconditionFailed`."""
    workspace_id = identity_of(request).workspace_id
    async with request.app[DATABASE].transaction() as conn:
        old = await store.get(conn, workspace_id, webhook_id, lock=True)
        check_version("Webhook", webhook_id, old.version, expected)
        await store.delete(conn, workspace_id, webhook_id)


async def rotate_secret(request: web.Request, webhook_id: str, asked: NewSecret) -> str:
    """The new secret. For a day, deliveries are signed with the former one as well.

    Raises `NotFound`, or `ValidationError` for the new secret.
    """
    identity = identity_of(request)
    workspace_id = identity.workspace_id
    secret = asked.secret
    if secret is None:
        if not identity.may_read:
            raise ValidationError.at(
                "/secret",
                "Field 'secret' is required of an API key without the permission 'read':"
                " it would not be shown a generated one",
            )
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    signing.check(kept_or_new(secret, None, "secret"), "secret")
    async with request.app[DATABASE].transaction() as conn:
        old = await store.get(conn, workspace_id, webhook_id, lock=True)
        former = opened(request.app, old)
        now = datetime.now(UTC)
        await store.update(
            conn,
            replace(
                old,
                secret=_sealed(request.app, workspace_id, webhook_id, secret),
                # What cannot be opened signs nothing.
                former_secret=old.secret if former else None,
                former_until=now + timedelta(hours=store.FORMER_SECRET_HOURS),
                version=old.version + 1,
                updated_at=now,
            ),
        )
    return secret


async def replay(request: web.Request, webhook_id: str, after: datetime) -> None:
    """Send again what happened after a time, in order, and then what happens from now on.

    Raises `NotFound`, `Gone` for a time of which the feed has not everything, `ValidationError` for
    one in the future, or `Conflict` for a webhook that is paused.
    """
    identity = identity_of(request)
    if after > datetime.now(UTC):
        raise ValidationError.at("/after", "Field 'after' expects a time that is not in the future")
    async with request.app[DATABASE].acquire() as conn:
        check_active(await store.get(conn, identity.workspace_id, webhook_id))
    position = await Clients(request, identity.token).feed_position(after)
    async with request.app[DATABASE].transaction() as conn:
        old = await store.get(conn, identity.workspace_id, webhook_id, lock=True)
        check_active(old)
        await store.update(conn, replace(old, position=min(position, old.position)))


def check_active(webhook: Webhook) -> None:
    """Raise `Conflict` for a webhook that is paused."""
    if not webhook.active:
        raise Conflict(f"Webhook '{truncated(webhook.id)}' is not active")


def shown(app: web.Application, webhook: Webhook) -> Mapping[str, Any]:
    """A webhook as readers see it."""
    secret = opened(app, webhook)
    return webhook.public(None if secret is None else mask(secret))


def opened(app: web.Application, webhook: Webhook) -> str | None:
    """The secret of a webhook; None without one, empty if its key is lost."""
    if webhook.secret is None:
        return None
    # A lost key is seen in `sigma_secrets_old`; deliveries fail until there is a new secret.
    return next(iter(secrets_of(app, webhook) or ("",)))


def secrets_of(app: web.Application, webhook: Webhook) -> list[str] | None:
    """What to sign with, the present secret first; None if it cannot be opened."""
    place = _place(webhook.workspace_id, webhook.id)
    try:
        found = [] if webhook.secret is None else [app[VAULT].open(webhook.secret, place)]
    except CannotOpen:
        return None
    if webhook.former_secret is not None and not is_over(webhook):
        with suppress(CannotOpen):
            found.append(app[VAULT].open(webhook.former_secret, place))
    return found


def is_over(webhook: Webhook) -> bool:
    """Whether the former secret counts no more."""
    return webhook.former_until is None or datetime.now(UTC) > webhook.former_until


def _check_reads(identity: Identity) -> None:
    """Refuse an owner to whom nothing could be sent.

    Not as a permission that the route needs: each route needs one, which everybody can look up.
    """
    if not identity.may_read:
        raise ValidationError.at(
            "/events",
            "Field 'events' names events of records, which an API key without the permission"
            " 'read' may not have",
        )


def _changed(app: web.Application, old: Webhook, sent: Mapping[str, Any]) -> Webhook:
    secret = old.secret
    if "secret" in sent:
        asked = sent["secret"]
        stored = opened(app, old)
        if asked is None:
            secret = None
        else:
            kept = kept_or_new(asked, stored, "secret")
            if kept != stored:
                signing.check(kept, "secret")
                secret = _sealed(app, old.workspace_id, old.id, kept)
    is_same_secret = secret == old.secret
    return replace(
        old,
        name=sent.get("name", old.name),
        description=sent.get("description", old.description),
        url=sent.get("url", old.url),
        events=_once(sent.get("events", old.events)),
        active=sent.get("active", old.active),
        secret=secret,
        former_secret=old.former_secret if is_same_secret else None,
        version=old.version + 1,
        updated_at=datetime.now(UTC),
    )


def _sealed(
    app: web.Application, workspace_id: str, webhook_id: str, secret: str | None
) -> str | None:
    return None if secret is None else app[VAULT].seal(secret, _place(workspace_id, webhook_id))


def _place(workspace_id: str, webhook_id: str) -> Place:
    return Place(workspace_id, store.KIND, webhook_id)


def _once(events: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(events))
