"""Creates, replaces and deletes option lists and single values, each in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from records_service.option_lists import store
from records_service.option_lists.hierarchy import (
    Value,
    checked,
    descendants,
    removed,
    values_of,
)
from records_service.option_lists.model import (
    OPTION_LIST,
    VALUE_TITLE,
    OptionListDraft,
    OptionValueDraft,
)
from records_service.parts import store as parts
from records_service.parts.commands import changing_model, tell
from records_service.parts.model import Part, check_version
from shared.errors import Conflict, NotFound
from shared.events import OPTION_LIST_CREATED, OPTION_LIST_DELETED, OPTION_LIST_UPDATED
from shared.ids import new_id
from shared.postgres import Conn


async def create(app: web.Application, workspace_id: str, draft: OptionListDraft) -> Part:
    """Raises `ValidationError`, or `Conflict` for a taken id or alias."""
    values = checked(values_of(draft.values), hierarchical=draft.hierarchical)
    body = {"name": draft.name, "hierarchical": draft.hierarchical, "values": values}
    async with changing_model(app, workspace_id) as conn:
        part = await parts.insert(
            conn, OPTION_LIST, workspace_id, draft.id or new_id("ol"), draft.alias, body
        )
        await tell(conn, OPTION_LIST_CREATED, workspace_id, part)
    return part


async def replace(
    app: web.Application,
    workspace_id: str,
    list_id: str,
    draft: OptionListDraft,
    expected: frozenset[int] | None,
) -> Part:
    """Raises `Conflict` when a value that records have would go."""
    values = checked(values_of(draft.values), hierarchical=draft.hierarchical)
    async with changing_model(app, workspace_id) as conn:
        old = await _current(conn, workspace_id, list_id, expected)
        await _check_unused(conn, workspace_id, list_id, removed(old.body, values))
        part = await parts.replace(
            conn,
            OPTION_LIST,
            workspace_id,
            list_id,
            draft.alias,
            {"name": draft.name, "hierarchical": draft.hierarchical, "values": values},
        )
        await tell(conn, OPTION_LIST_UPDATED, workspace_id, part)
    return part


async def delete(
    app: web.Application, workspace_id: str, list_id: str, expected: frozenset[int] | None
) -> None:
    """Raises `Conflict` while an attribute chooses from it."""
    async with changing_model(app, workspace_id) as conn:
        old = await _current(conn, workspace_id, list_id, expected)
        if await store.is_used(conn, workspace_id, list_id):
            raise Conflict.in_use(OPTION_LIST.title, list_id)
        await parts.delete(conn, OPTION_LIST, workspace_id, list_id)
        await tell(conn, OPTION_LIST_DELETED, workspace_id, old)


async def add_value(
    app: web.Application,
    workspace_id: str,
    list_id: str,
    draft: OptionValueDraft,
    expected: frozenset[int] | None,
) -> Value:
    """The new value; it goes to the end unless it says where."""
    async with changing_model(app, workspace_id) as conn:
        old = await _current(conn, workspace_id, list_id, expected)
        values: list[Value] = old.body["values"]
        last = max((value["sortOrder"] for value in values), default=-1)
        value = draft.stored(draft.id or new_id("val"), last)
        await _keep(conn, workspace_id, old, [*values, value])
    return value


async def replace_value(
    app: web.Application,
    workspace_id: str,
    list_id: str,
    value_id: str,
    draft: OptionValueDraft,
    expected: frozenset[int] | None,
) -> Value:
    """The value as it is now; its id stays, so records that have it keep it."""
    async with changing_model(app, workspace_id) as conn:
        old = await _current(conn, workspace_id, list_id, expected)
        place = _place(old, value_id)
        values = list(old.body["values"])
        value = draft.stored(value_id, values[place]["sortOrder"] - 1)
        values[place] = value
        await _keep(conn, workspace_id, old, values)
    return value


async def remove_value(
    app: web.Application,
    workspace_id: str,
    list_id: str,
    value_id: str,
    expected: frozenset[int] | None,
) -> None:
    """Children go with it; raises `Conflict` when a record has one of them."""
    async with changing_model(app, workspace_id) as conn:
        old = await _current(conn, workspace_id, list_id, expected)
        _place(old, value_id)
        going = descendants(old.body["values"], value_id)
        await _check_unused(conn, workspace_id, list_id, going)
        gone = set(going)
        kept = [value for value in old.body["values"] if value["id"] not in gone]
        await _keep(conn, workspace_id, old, kept)


async def _current(
    conn: Conn, workspace_id: str, list_id: str, expected: frozenset[int] | None
) -> Part:
    part = await parts.get(conn, OPTION_LIST, workspace_id, list_id)
    check_version(OPTION_LIST.title, part.id, part.version, expected)
    return part


async def _check_unused(
    conn: Conn, workspace_id: str, list_id: str, value_ids: Sequence[str]
) -> None:
    used = await store.used_value(conn, workspace_id, list_id, value_ids)
    if used is not None:
        raise Conflict.in_use(VALUE_TITLE, used)


async def _keep(conn: Conn, workspace_id: str, old: Part, values: list[Value]) -> None:
    body = {
        **old.body,
        "values": checked(values, hierarchical=old.body["hierarchical"]),
    }
    part = await parts.replace(conn, OPTION_LIST, workspace_id, old.id, old.alias, body)
    await tell(conn, OPTION_LIST_UPDATED, workspace_id, part)


def _place(part: Part, value_id: str) -> int:
    for place, value in enumerate(part.body["values"]):
        if value["id"] == value_id:
            return place
    raise NotFound.of(VALUE_TITLE, value_id)
