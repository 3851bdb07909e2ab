"""Saves and deletes queries."""

from __future__ import annotations

from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.context import BaseContext, Context
from records_service.option_lists.lookup import Options
from records_service.option_lists.lookup_store import look_up
from records_service.saved_queries import store
from records_service.saved_queries.model import (
    PREFIX,
    QUERIES_MAX,
    TITLE,
    VERSION,
    SavedQuery,
    SavedQueryDraft,
)
from records_service.search.criteria import Reader
from records_service.search.naming import check_known
from records_service.search.scored import asks_for_scores
from records_service.writes.effects import now
from shared.errors import LimitExceeded, PermissionDenied
from shared.ids import new_id


async def save(context: Context, draft: SavedQueryDraft) -> SavedQuery:
    """Save a query that its author can run now.

    That of a caller who may not read is checked when it runs: the answer would tell which names
    there are. Raises `ValidationError` as a search does, `Conflict` for a taken id, or
    `LimitExceeded`.
    """
    check_known(draft.criteria, draft.sort)
    if context.identity.may_read:
        blueprint = await context.app[BLUEPRINTS].get(context.database, context.workspace_id)
        options = Options()
        reader = Reader(blueprint, context.role, options)
        is_large = asks_for_scores(draft.criteria, draft.sort)
        await context.run(is_large, reader.filter, draft)
        await context.run(is_large, reader.sort, draft.sort)
        if options.wanted:
            async with context.database.acquire() as conn:
                await look_up(conn, context.workspace_id, options)
            reader = Reader(blueprint, context.role, options)
            await context.run(is_large, reader.filter, draft)
    query = SavedQuery(
        id=draft.id or new_id(PREFIX),
        name=draft.name,
        description=draft.description,
        query=draft.stored(),
        created_by=context.identity.id,
        created_at=now(),
    )
    async with context.database.transaction() as conn:
        if not await store.insert(conn, context.workspace_id, query, queries_max=QUERIES_MAX):
            raise LimitExceeded(f"A workspace has at most {QUERIES_MAX} saved queries")
    return query


async def delete(context: BaseContext, query_id: str) -> None:
    """Delete a query; others may delete only their own, an administrator or an API key any.

    Raises `NotFound`, `PermissionDenied` or `PreconditionFailed`.
    """
    async with context.database.transaction() as conn:
        query = await store.get(conn, context.workspace_id, query_id)
        context.check_version(TITLE, query_id, VERSION)
        if not context.identity.unrestricted and query.created_by != context.identity.id:
            raise PermissionDenied.because(f"Only who saved the {TITLE.lower()} may delete it")
        await store.delete(conn, context.workspace_id, query_id)
