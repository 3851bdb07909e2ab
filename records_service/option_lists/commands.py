"""Changes option lists and single options, each in one transaction with its event."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from records_service.context import BaseContext, Context
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import model_change, stage_event
from records_service.model_objects.labels import check_labels
from records_service.model_objects.model import ModelObject
from records_service.model_objects.naming import LABELS, said, settled
from records_service.model_objects.searching import Searcher
from records_service.model_objects.value_index import VALUE_INDEX
from records_service.option_lists import store, usage_store, value_store
from records_service.option_lists.hierarchy import (
    check_flat,
    check_values,
    own_ancestor,
    unknown_parent,
    values_of,
)
from records_service.option_lists.model import (
    HELD_VALUES_MAX,
    LIST_VALUES_MAX,
    OPTION_LIST,
    VALUE_PREFIX,
    VALUE_TITLE,
    VALUES_MAX,
    WORKSPACE_VALUES_MAX,
    OptionListDraft,
    OptionValue,
    OptionValueDraft,
)
from records_service.option_lists.removal import check_id_is_free, remove_or_request
from records_service.permissions.reach import check_readable
from records_service.permissions.rules import Role
from shared.database import Conn
from shared.errors import Conflict, LimitExceeded, ValidationError, some_of, truncated
from shared.events import EventType
from shared.ids import new_id


async def create(context: BaseContext, draft: OptionListDraft) -> ModelObject:
    """Raises `ValidationError`, or `Conflict` for a taken id or alias."""
    workspace_id = context.workspace_id
    values = values_of(draft.sent_values or ())
    check_values(values, hierarchical=draft.hierarchical)
    list_id = draft.id or new_id(OPTION_LIST.prefix)
    async with model_change(context.app, workspace_id) as conn:
        await check_labels(conn, workspace_id, draft)
        await check_id_is_free(conn, workspace_id, list_id)
        option_list = await model_objects.insert(
            conn, OPTION_LIST, workspace_id, list_id, draft.alias, _body_of(draft)
        )
        await value_store.insert(conn, workspace_id, list_id, values)
        await store.set_count(conn, workspace_id, list_id, len(values))
        await check_room(conn, workspace_id)
        await stage_event(conn, EventType.OPTION_LIST_CREATED, workspace_id, option_list)
        made = await store.get(conn, workspace_id, list_id)
    await analyze_grown(context, 0, len(values))
    return made


async def replace(context: Context, list_id: str, draft: OptionListDraft) -> ModelObject:
    """Raises `Conflict` when a value that records have would go.

    Taking a value out needs `read` on what chooses from the list: the answer looks at records.
    """
    workspace_id = context.workspace_id
    searcher = Searcher(context.app[VALUE_INDEX])

    async def judge(
        conn: Conn,
    ) -> tuple[ModelObject, list[OptionValue], list[OptionValue]]:
        known, old, new, gone = await drafted(context, conn, list_id, draft)
        await _check_unused(context, conn, list_id, gone, searcher)
        return known, old, new

    async def search(conn: Conn) -> None:
        """Judge before the lock only if records must be searched: a large list takes long."""
        await _check_replaceable(conn, workspace_id, list_id)
        ids = {value.id for value in draft.values}
        aliases = {value.alias for value in draft.values}
        old = await value_store.read_all(conn, workspace_id, list_id)
        if any(value.id not in ids and value.alias not in aliases for value in old):
            await judge(conn)

    keeps_values = draft.sent_values is None
    async with model_change(
        context.app, workspace_id, judge=None if keeps_values else search
    ) as conn:
        known, old, new = await judge(conn)
        count = await store.count(conn, workspace_id, list_id) if keeps_values else len(new)
        unchanged = set(old) & set(new)
        # Taken out before they are put back, so that two values can exchange their aliases.
        await value_store.delete(
            conn, workspace_id, list_id, [value.id for value in old if value not in unchanged]
        )
        await value_store.insert(
            conn, workspace_id, list_id, [value for value in new if value not in unchanged]
        )
        changed = dataclasses.replace(known, alias=draft.alias, body=_body_of(draft, known.body))
        await touch(conn, workspace_id, changed, count)
        if not keeps_values:
            await check_room(conn, workspace_id)
        return await store.get(conn, workspace_id, list_id)


async def drafted(
    context: Context, conn: Conn, list_id: str, draft: OptionListDraft
) -> tuple[ModelObject, list[OptionValue], list[OptionValue], list[str]]:
    """Return the list, its values before and after, and the ids of those that would go.

    Both are empty where the list keeps its values. Raises all that `replace` raises, except for
    `Conflict`.
    """
    workspace_id = context.workspace_id
    known = await current(context, conn, list_id)
    if draft.sent_values is None:
        # Values that it is sent with mean nothing.
        sent = draft.model_copy(update={"values": []})
        await check_labels(conn, workspace_id, sent, known.body)
        if known.body["hierarchical"] and not draft.hierarchical:
            await _check_no_levels(conn, workspace_id, list_id)
        return known, [], [], []
    await _check_replaceable(conn, workspace_id, list_id)
    old = await value_store.read_all(conn, workspace_id, list_id)
    labelled = {"values": [{LABELS: dict(value.labels)} for value in old], **known.body}
    await check_labels(conn, workspace_id, draft, labelled)
    new = values_of(draft.sent_values, old)
    check_values(new, hierarchical=draft.hierarchical)
    kept = {value.id for value in new}
    gone = [value.id for value in old if value.id not in kept]
    await _check_may_go(conn, workspace_id, context.role, list_id, gone)
    return known, old, new, gone


async def delete(context: BaseContext, list_id: str) -> None:
    """Raises `Conflict` while an attribute chooses from it.

    If it has many options, a job removes them afterwards; until then no list gets its id.
    """
    workspace_id = context.workspace_id
    async with model_change(context.app, workspace_id) as conn:
        old = await current(context, conn, list_id)
        choosing = await usage_store.choosing(conn, workspace_id, list_id)
        if choosing:
            by = context.told(f"attributes choose from it ({some_of(choosing)})")
            raise Conflict.in_use(OPTION_LIST.title, list_id, by)
        if await remove_or_request(conn, workspace_id, old):
            await model_objects.delete(conn, OPTION_LIST, workspace_id, list_id)
        await stage_event(conn, EventType.OPTION_LIST_DELETED, workspace_id, old)


async def add_value(
    context: BaseContext, list_id: str, draft: OptionValueDraft
) -> tuple[OptionValue, ModelObject]:
    """The new value and the list it is in; it goes to the end unless it says where."""
    workspace_id = context.workspace_id
    async with model_change(context.app, workspace_id) as conn:
        old = await current(context, conn, list_id)
        count = await store.count(conn, workspace_id, list_id)
        if count >= LIST_VALUES_MAX:
            raise ValidationError(f"An option list has at most {LIST_VALUES_MAX} values")
        last = await value_store.last_place(conn, workspace_id, list_id)
        await check_labels(conn, workspace_id, draft)
        value = draft.value(draft.id or new_id(VALUE_PREFIX), last + 1)
        await _check_parent(conn, workspace_id, old, value)
        await value_store.insert(conn, workspace_id, list_id, [value])
        option_list = await touch(conn, workspace_id, old, count + 1)
        await check_room(conn, workspace_id)
        return value, option_list


async def replace_value(
    context: BaseContext, list_id: str, value_id: str, draft: OptionValueDraft
) -> tuple[OptionValue, ModelObject]:
    """The value as it is now; its id stays, so records that have it keep it."""
    workspace_id = context.workspace_id
    async with model_change(context.app, workspace_id) as conn:
        old = await current(context, conn, list_id)
        known = await value_store.get(conn, workspace_id, list_id, value_id)
        await check_labels(conn, workspace_id, draft, {LABELS: dict(known.labels)})
        value = draft.value(value_id, known.sort_order, known)
        if value.parent_id is not None and value_id in await value_store.above(
            conn, workspace_id, list_id, [value.parent_id]
        ):
            check_flat(value, hierarchical=old.body["hierarchical"])
            raise own_ancestor(value)
        await _check_parent(conn, workspace_id, old, value)
        count = await store.count(conn, workspace_id, list_id)
        await value_store.update(conn, workspace_id, list_id, value)
        return value, await touch(conn, workspace_id, old, count)


async def remove_value(context: Context, list_id: str, value_id: str) -> None:
    """Children go with it; raises `Conflict` when a record has one of them.

    Needs `read` on what chooses from the list: the answer looks at records.
    """
    workspace_id = context.workspace_id
    searcher = Searcher(context.app[VALUE_INDEX])

    async def judge(conn: Conn) -> tuple[ModelObject, list[str]]:
        old = await current(context, conn, list_id)
        await value_store.get(conn, workspace_id, list_id, value_id)
        going = await value_store.branch(conn, workspace_id, list_id, value_id)
        await _check_may_go(conn, workspace_id, context.role, list_id, going)
        await _check_unused(context, conn, list_id, going, searcher)
        return old, going

    async with model_change(context.app, workspace_id, judge=judge) as conn:
        old, going = await judge(conn)
        count = await store.count(conn, workspace_id, list_id)
        await value_store.delete(conn, workspace_id, list_id, going)
        await touch(conn, workspace_id, old, count - len(going))


async def _check_replaceable(conn: Conn, workspace_id: str, list_id: str) -> None:
    """Raise `ValidationError` for a list with more values than a request can have."""
    count = await store.count(conn, workspace_id, list_id)
    if count > VALUES_MAX:
        raise ValidationError.at(
            "/values",
            f"Field 'values' must be left out, because the list has {count} values: more than"
            f" {VALUES_MAX} can only be changed one by one or at '/values/bulk'",
        )


async def _check_no_levels(conn: Conn, workspace_id: str, list_id: str) -> None:
    """Raise `ValidationError` if a value has a parent: the list is to be flat."""
    value = await value_store.any_below(conn, workspace_id, list_id)
    if value is not None:
        check_flat(value, hierarchical=False)


async def analyze_grown(context: BaseContext, before: int, after: int) -> None:
    """Let PostgreSQL know of a list that has become large, or twice as large, with one request."""
    if after > HELD_VALUES_MAX and after.bit_length() > before.bit_length():
        async with context.database.acquire() as conn:
            await value_store.analyze(conn)


async def check_room(conn: Conn, workspace_id: str) -> None:
    """Raise `LimitExceeded` if the lists of the workspace have too many values together."""
    count = await store.count_of_workspace(conn, workspace_id)
    if count > WORKSPACE_VALUES_MAX:
        raise LimitExceeded(
            f"The option lists of this workspace may have at most {WORKSPACE_VALUES_MAX} values"
            f" together, got {count}"
        )


async def current(context: BaseContext, conn: Conn, list_id: str) -> ModelObject:
    """The list without its values; raises `NotFound` or `PreconditionFailed`."""
    option_list = await model_objects.get(conn, OPTION_LIST, context.workspace_id, list_id)
    context.check_version(OPTION_LIST.title, option_list.id, option_list.version)
    return option_list


async def _check_may_go(
    conn: Conn, workspace_id: str, role: Role | None, list_id: str, value_ids: Sequence[str]
) -> None:
    if role is not None and value_ids:
        choosing = await usage_store.choosing(conn, workspace_id, list_id)
        await check_readable(conn, workspace_id, role, choosing, "/values")


async def _check_unused(
    context: Context, conn: Conn, list_id: str, value_ids: Sequence[str], searcher: Searcher
) -> None:
    workspace_id = context.workspace_id
    if value_ids and await usage_store.is_converted_to(conn, workspace_id, list_id):
        raise Conflict(
            f"Values are being converted to options of list '{truncated(list_id)}': none can be"
            " removed before the job has ended"
        )
    used = await usage_store.used_value(conn, workspace_id, list_id, value_ids, searcher)
    if used is not None:
        raise Conflict.in_use(VALUE_TITLE, used.found, context.told_of_records(used.by))
    guarding = await usage_store.guarding(conn, workspace_id, list_id, value_ids)
    if guarding is not None:
        value_id, alias = guarding
        raise Conflict(
            f"{VALUE_TITLE} '{truncated(value_id)}' cannot be deleted:"
            f" a guard of attribute '{truncated(alias)}' names it"
        )


async def _check_parent(
    conn: Conn, workspace_id: str, option_list: ModelObject, value: OptionValue
) -> None:
    check_flat(value, hierarchical=option_list.body["hierarchical"])
    if value.parent_id is not None and not await value_store.find(
        conn, workspace_id, option_list.id, value.parent_id
    ):
        raise unknown_parent(value)


async def touch(conn: Conn, workspace_id: str, old: ModelObject, count: int) -> ModelObject:
    """The list changes with its values, of which it has `count`: the next version and its event."""
    option_list = await model_objects.update(
        conn, OPTION_LIST, workspace_id, old.id, old.alias, old.body
    )
    await store.set_count(conn, workspace_id, old.id, count)
    await stage_event(conn, EventType.OPTION_LIST_UPDATED, workspace_id, option_list)
    return option_list


def _body_of(draft: OptionListDraft, old: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return settled({"name": draft.name, **said(draft), "hierarchical": draft.hierarchical}, old)
