"""Converts the stored values of an attribute to another type, as a background job.

The job looks at all values first, slice by slice, while records are written: what cannot be
converted is counted, and told by samples. Then one slice converts all records and variants that
have a value, and the attribute with them, in one transaction: everybody sees the old type before
it, and the new one after it. Each record has an entry of its history and an event, as for a write.

That slice keeps the writes of the workspace waiting, so it converts `CONVERTED_MAX` records and
variants at most, and those of `BYTES_MAX` together (docs/adr/0060). What is large is decoded and
converted in a thread.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import orjson

from records_service.attributes import store as attributes
from records_service.attributes.model import ATTRIBUTE, AttributeType
from records_service.blueprint.blueprint import load as load_blueprint
from records_service.context import Context
from records_service.conversions import store
from records_service.conversions.converting import Outcome, convert_all, converter_of, faults_of
from records_service.conversions.holders import Slice, slices_of
from records_service.conversions.model import Conversion, ConversionDraft, OnFailure, Phase
from records_service.conversions.rules import POSSIBLE, new_body
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import (
    SOURCE,
    lock_model,
    lock_model_shared,
    model_change,
    stage_event,
    take_lock,
)
from records_service.model_objects.model import ModelObject
from records_service.option_lists.model import OPTION_LIST
from records_service.permissions.reach import check_writable
from records_service.permissions.store import schemas_with_values
from records_service.progress import commands as progress
from records_service.progress.model import Counts, Job, JobKind, JobStatus, Sample
from records_service.schema_walks.model import Walk
from records_service.schema_walks.store import next_entries, written_since
from records_service.search_index import building
from shared.database import Conn
from shared.database.pieces import Room
from shared.errors import Conflict, PayloadTooLarge, ValidationError, truncated
from shared.events import EventType
from shared.messaging import jobs
from shared.process.offload import in_thread

JOB: Final = "convert"
LOOKED_AT_ONCE: Final = 1_000
CAUGHT_UP_AT_ONCE: Final = 500
"""Entries of the history of one slice, which keeps all writes of the workspace waiting."""
CONVERTED_MAX: Final = 5_000
"""Records and variants with a value that are converted in one slice."""
BYTES_MAX: Final = 64 << 20
"""All values of these records and variants together, as JSON."""
STORED_BY: Final = (
    *("type", "multiple", "optionListId", "targetSchemaId", "attributes", "dimensionIds"),
)
TOO_MANY: Final = (
    "Attribute '{alias}' has values in more than {max} records and variants, or in some that have"
    " more than {megabytes} MB together: create another attribute, copy the values by bulk calls,"
    " and exchange the aliases"
)
CHANGED: Final = "The attribute was changed meanwhile"


async def begin(context: Context, attribute_id: str, draft: ConversionDraft) -> Job:
    """Begin the job that converts an attribute.

    Raises `NotFound`, `ValidationError` for what it cannot be converted to, `PermissionDenied`
    unless the role may write its values wherever there are any, and `Conflict` while it is unique
    or being converted, or a guard compares its values.
    """
    workspace_id = context.workspace_id
    async with model_change(context.app, workspace_id) as conn:
        old = await model_objects.get(conn, ATTRIBUTE, workspace_id, attribute_id)
        context.check_version(ATTRIBUTE.title, old.id, old.version)
        form = await _form(conn, workspace_id, old, draft)
        await check_writable(
            conn,
            workspace_id,
            context.role,
            [attribute_id],
            "/type",
            "This converts values that your role may not write",
        )
        await _check_convertible(conn, workspace_id, old)
        await store.insert(
            conn,
            workspace_id,
            Conversion(
                attribute_id,
                context.identity.id,
                form,
                _form_of(old),
                draft.on_failure is OnFailure.DROP,
                Phase.LOOKING,
                Walk(await schemas_with_values(conn, workspace_id, [attribute_id])),
            ),
        )
        job_id = await progress.begin(
            conn, context.identity, JobKind.CONVERT, attribute_id, job_id=draft.id
        )
        await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB, attribute_id)
        return await progress.get(context, conn, job_id)


async def cancel(conn: Conn, workspace_id: str, attribute_id: str, reason: str) -> None:
    """Convert nothing, if a conversion goes on. The caller holds the model lock."""
    if await store.find(conn, workspace_id, attribute_id) is not None:
        await store.delete(conn, workspace_id, attribute_id)
        await progress.end(
            conn, workspace_id, JobKind.CONVERT, attribute_id, JobStatus.CANCELLED, reason
        )


async def convert_some(conn: Conn, workspace_id: str, attribute_id: str) -> bool:
    """One slice of the job of an attribute; whether more is left."""
    one = await store.find(conn, workspace_id, attribute_id)
    if one is None:
        return False
    try:
        if one.phase is Phase.LOOKING:
            return await _look(conn, workspace_id, attribute_id)
        async with conn.transaction():
            return await _switch(conn, workspace_id, attribute_id)
    except _Refused as refused:
        await _refuse(conn, workspace_id, one, refused.outcome)
    except _Failed as failed:
        await _fail(conn, workspace_id, one, str(failed))
    except PayloadTooLarge as error:
        await _fail(conn, workspace_id, one, error.message)
    return False


async def _look(conn: Conn, workspace_id: str, attribute_id: str) -> bool:
    """Look at the next values; what cannot be converted is told."""
    await lock_model_shared(conn, workspace_id)
    one = await store.find(conn, workspace_id, attribute_id)
    if one is None:
        return False
    old = await _unchanged(conn, workspace_id, one)
    if one.walk.is_over:
        await _slices(conn, workspace_id, old)
        await store.update(conn, workspace_id, dataclasses.replace(one, phase=Phase.SWITCHING))
        return True
    read, walk = await next_entries(
        conn, workspace_id, one.walk, one.attribute_id, room=Room(LOOKED_AT_ONCE)
    )
    rows = [row for row in read if row["entries"] is not None]
    await store.note_holders(
        conn,
        workspace_id,
        one.attribute_id,
        [row["record_id"] for row in rows if row["variant_id"] is None],
        [row["variant_id"] for row in rows if row["variant_id"] is not None],
    )
    held = await in_thread(lambda: [orjson.loads(row["entries"]) for row in rows])
    converter = await converter_of(conn, workspace_id, old, one.form, held)
    faults = await in_thread(faults_of, converter, held)
    samples = [
        Sample(row["record_id"], reason, row["variant_id"])
        for row, reason in zip(rows, faults, strict=True)
        if reason is not None
    ]
    enough = await progress.advance(
        conn,
        workspace_id,
        JobKind.CONVERT,
        one.attribute_id,
        Counts(
            unchanged=len(rows) - len(samples), skipped=len(read) - len(rows), failed=len(samples)
        ),
        samples,
        among=one.walk.schema_ids,
    )
    if not one.drops and (enough or walk.is_over) and await _has_failed(conn, workspace_id, one):
        await _refuse(conn, workspace_id, one)
        return False
    if await store.count_holders(conn, workspace_id, one.attribute_id) > CONVERTED_MAX:
        raise _too_many(old)
    if len(read) < LOOKED_AT_ONCE and walk.after is not None:
        # The slice is a large one. Better now than after all of them.
        await _slices(conn, workspace_id, old)
    await store.update(conn, workspace_id, dataclasses.replace(one, walk=walk))
    return True


async def _switch(conn: Conn, workspace_id: str, attribute_id: str) -> bool:
    """Take note of what was written meanwhile; when that is little, convert everything."""
    known = await load_blueprint(conn, workspace_id, None)
    await lock_model(conn, workspace_id)
    one = await store.find(conn, workspace_id, attribute_id)
    if one is None:
        return False
    old = await _unchanged(conn, workspace_id, one)
    written = await written_since(conn, workspace_id, one.last_change, rows_max=CAUGHT_UP_AT_ONCE)
    variant_ids = [variant_id for _, variant_id in written.variants]
    await store.note_holders(conn, workspace_id, attribute_id, written.records, variant_ids)
    if written.last is not None:
        await store.update(conn, workspace_id, dataclasses.replace(one, last_change=written.last))
        return True
    before = await load_blueprint(conn, workspace_id, known)
    if before.state_moves:
        # Records are taken to the states of their workflow first, as before every write.
        return True
    slices = await _slices(conn, workspace_id, old)
    await take_lock(conn, workspace_id)
    changed = await model_objects.update(
        conn, ATTRIBUTE, workspace_id, attribute_id, old.alias, new_body(old.body, one.form)
    )
    await building.attribute_changed(conn, workspace_id, old, changed)
    after = await load_blueprint(conn, workspace_id, before)
    outcome = await convert_all(conn, workspace_id, old, one, before, after, slices)
    if outcome.failed and not one.drops:
        # What was written meanwhile cannot be converted: all of this is taken back.
        raise _Refused(outcome)
    await progress.tell_all(
        conn, workspace_id, JobKind.CONVERT, attribute_id, outcome.counts, outcome.samples
    )
    await store.delete(conn, workspace_id, attribute_id)
    await progress.end(
        conn,
        workspace_id,
        JobKind.CONVERT,
        attribute_id,
        JobStatus.PARTIAL if outcome.failed else JobStatus.SUCCEEDED,
    )
    await stage_event(conn, EventType.ATTRIBUTE_UPDATED, workspace_id, changed)
    return False


async def _slices(conn: Conn, workspace_id: str, attribute: ModelObject) -> Sequence[Slice]:
    """All that have a value; `_Failed` if they are too many."""
    slices = await slices_of(
        conn, workspace_id, attribute.id, holders_max=CONVERTED_MAX, bytes_max=BYTES_MAX
    )
    if slices is None:
        raise _too_many(attribute)
    return slices


def _too_many(attribute: ModelObject) -> _Failed:
    alias, megabytes = truncated(attribute.alias), BYTES_MAX >> 20
    return _Failed(TOO_MANY.format(alias=alias, max=CONVERTED_MAX, megabytes=megabytes))


async def _refuse(
    conn: Conn, workspace_id: str, one: Conversion, outcome: Outcome | None = None
) -> None:
    if outcome is not None:
        await progress.tell_all(
            conn, workspace_id, JobKind.CONVERT, one.attribute_id, outcome.counts, outcome.samples
        )
    await _fail(
        conn,
        workspace_id,
        one,
        "Nothing was converted: there are values that cannot be. Correct them, or convert with"
        " 'onFailure': 'drop'",
    )


async def _fail(conn: Conn, workspace_id: str, one: Conversion, error: str) -> None:
    await store.delete(conn, workspace_id, one.attribute_id)
    await progress.end(
        conn, workspace_id, JobKind.CONVERT, one.attribute_id, JobStatus.FAILED, error
    )


async def _has_failed(conn: Conn, workspace_id: str, one: Conversion) -> bool:
    job = await progress.unfinished(conn, workspace_id, JobKind.CONVERT, one.attribute_id)
    return job is not None and job.failed > 0


async def _unchanged(conn: Conn, workspace_id: str, one: Conversion) -> ModelObject:
    """The attribute; `_Failed` unless it can still be converted as it was asked for.

    Its values are of the form that they had, it is not unique, no guard compares its values, and
    the option list that it gets is there.
    """
    found = await model_objects.get_many(conn, ATTRIBUTE, workspace_id, [one.attribute_id])
    attribute = found.get(one.attribute_id)
    if attribute is None or _is_unique(attribute) or _form_of(attribute) != one.before:
        raise _Failed(CHANGED)
    if await attributes.comparing(conn, workspace_id, one.attribute_id) is not None:
        raise _Failed(CHANGED)
    list_id = one.form.get("optionListId")
    if list_id is not None:
        lists = await model_objects.ids_of(conn, OPTION_LIST, workspace_id, [list_id])
        if lists.get(list_id) != list_id:
            raise _Failed(CHANGED)
    return attribute


def _form_of(attribute: ModelObject) -> dict[str, Any]:
    """The fields that decide how values are stored."""
    return {name: attribute.body.get(name) for name in STORED_BY}


def _is_unique(attribute: ModelObject) -> bool:
    return bool(attribute.body["validation"].get("unique"))


async def _check_convertible(conn: Conn, workspace_id: str, attribute: ModelObject) -> None:
    alias = truncated(attribute.alias)
    if await store.find(conn, workspace_id, attribute.id) is not None:
        raise Conflict(f"Attribute '{alias}' is being converted already")
    if _is_unique(attribute):
        raise Conflict(f"Attribute '{alias}' cannot be converted while it is unique")
    guarded = await attributes.comparing(conn, workspace_id, attribute.id)
    if guarded is not None:
        raise Conflict(
            f"Attribute '{alias}' cannot be converted while a guard of attribute"
            f" '{truncated(guarded)}' compares its values"
        )


async def _form(
    conn: Conn, workspace_id: str, old: ModelObject, draft: ConversionDraft
) -> dict[str, Any]:
    """The fields of the body that the attribute gets; `ValidationError` for what cannot be."""
    before = AttributeType(old.body["type"])
    if draft.type not in POSSIBLE[before]:
        raise ValidationError.at("/type", _impossible(before, draft.type))
    several = draft.multiple
    if several is None:
        several = bool(old.body["multiple"]) and draft.type is not AttributeType.BOOLEAN
    if several and draft.type is AttributeType.BOOLEAN:
        raise ValidationError.at(
            "/multiple", "'multiple' does not belong to attributes of type 'boolean'"
        )
    form: dict[str, Any] = {"type": draft.type.value, "multiple": several}
    if draft.type is AttributeType.OPTION:
        name = draft.option_list_id or old.body.get("optionListId")
        if name is None:
            raise ValidationError.at(
                "/optionListId", "Field 'optionListId' is required for type 'option'"
            )
        found = await model_objects.ids_of(conn, OPTION_LIST, workspace_id, [name])
        if name not in found:
            raise ValidationError.at(
                "/optionListId",
                f"Field 'optionListId': {OPTION_LIST.title} '{truncated(name)}' not found",
            )
        form["optionListId"] = found[name]
    elif draft.option_list_id is not None:
        raise ValidationError.at(
            "/optionListId",
            f"'optionListId' does not belong to attributes of type '{truncated(draft.type)}'",
        )
    if all(old.body.get(name) == value for name, value in form.items()):
        raise ValidationError.at(
            "/type", f"Attribute '{truncated(old.alias)}' has this type already"
        )
    return form


def _impossible(before: AttributeType, asked: AttributeType) -> str:
    possible = POSSIBLE[before]
    if not possible:
        return f"Attributes of type '{truncated(before)}' cannot be converted"
    names = ", ".join(f"'{truncated(one)}'" for one in possible)
    return (
        f"Attributes of type '{truncated(before)}' can be converted to one of {names}, got"
        f" '{truncated(asked)}'"
    )


class _Failed(Exception):
    """The conversion ends here; the text says why."""


class _Refused(Exception):
    """Values that were written meanwhile cannot be converted."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome
