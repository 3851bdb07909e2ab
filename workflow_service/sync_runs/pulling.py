"""Brings in what the target has and the records have not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.database import Database
from shared.ids import new_id
from shared.process.offload import in_thread
from workflow_service.connectors.model import Pulled
from workflow_service.mapping.fingerprints import checksum
from workflow_service.mapping.mapping import ChannelMapping, Mapped, Unmappable
from workflow_service.sync_runs import mapping_store, store
from workflow_service.sync_runs.mapping_store import Agreed
from workflow_service.sync_runs.model import Counts, Failure, Known, Run, Step
from workflow_service.sync_runs.records import Records

REFUSED = "The record could not be written"


@dataclass(slots=True)
class Plan:
    """What is to be done with some objects of the target."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Record -> attribute id -> value."""
    external_ids: dict[str, str] = field(default_factory=dict)
    """Record -> the object."""
    changed: dict[str, Mapped] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)
    """Object -> the record that is to be made of it."""
    unchanged: list[str] = field(default_factory=list)
    whole: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Record -> all that its object has, for one that was deleted here meanwhile."""
    failures: list[Failure] = field(default_factory=list)
    ignored: int = 0
    """Objects with none of the mapped fields."""


def planned(
    mapping: ChannelMapping,
    items: Sequence[Pulled],
    known: Mapping[str, Known],
    mark: str | None = None,
) -> Plan:
    """What is to be done with these objects; nothing with those that have the mark already."""
    plan = Plan()
    for item in items:
        record = known.get(item.external_id)
        if record is not None and mark is not None and record.last_mark == mark:
            continue
        try:
            changed, whole = _changes(mapping, item, record)
        except Unmappable as fault:
            entity_id = None if record is None else record.entity_id
            plan.failures.append(
                Failure(item.external_id, str(fault), None, entity_id, item.external_id)
            )
            continue
        if not changed.values:
            if record is None:
                plan.ignored += 1
            else:
                plan.unchanged.append(record.entity_id)
            continue
        entity_id = new_id("ent") if record is None else record.entity_id
        if entity_id in plan.rows:
            continue
        if record is None:
            if item.external_id in plan.new:
                continue
            plan.new[item.external_id] = entity_id
        plan.rows[entity_id] = mapping.values_for(changed)
        if whole is not None:
            plan.whole[entity_id] = mapping.values_for(whole)
        plan.external_ids[entity_id] = item.external_id
        plan.changed[entity_id] = changed
    return plan


def _changes(
    mapping: ChannelMapping, item: Pulled, record: Known | None
) -> tuple[Mapped, Mapped | None]:
    """What is news of an object; and all of it, if its record had something of it before."""
    states = [] if record is None else [each for each in (record.sent, record.seen) if each]
    changed = mapping.changed(item.fields, states)
    whole = mapping.changed(item.fields, []) if states else None
    if record is not None and record.variants:
        # Which variant a field would be of is not known from its place.
        changed = mapping.without_variants(changed)
        whole = None if whole is None else mapping.without_variants(whole)
    return changed, whole


async def pull_page(
    db: Database,
    run: Run,
    mapping: ChannelMapping,
    records: Records,
    items: Sequence[Pulled],
    *,
    then: tuple[Step, Any],
) -> None:
    """Write the records of some objects, and note what became of them, and how far the run is.

    Which record an object becomes is noted before it is written: written again, it is the same.
    """
    async with db.acquire() as conn:
        known = await mapping_store.of_objects(conn, run, [each.external_id for each in items])
    plan = await in_thread(planned, mapping, items, known, run.mark(Step.PULL))
    if plan.new:
        ids = [new_id("map") for _ in plan.new]
        async with db.acquire() as conn:
            await mapping_store.intend_records(conn, run, plan.new, ids)
    results = await records.write(plan.rows, plan.whole) if plan.rows else []
    counts = Counts(skipped=len(plan.unchanged) + plan.ignored, failures=[*plan.failures])
    agreed: list[Agreed] = []
    forgotten: list[str] = []
    of_entity = {each.entity_id: each for each in known.values()}
    for result in results:
        entity_id, outcome = result["id"], result["outcome"]
        external_id = plan.external_ids[entity_id]
        if outcome == "failed":
            counts.failures.append(
                Failure(external_id, REFUSED, result["message"], entity_id, external_id)
            )
            if external_id in plan.new:
                forgotten.append(entity_id)
            continue
        was = of_entity.get(entity_id, Known(entity_id))
        fresh = mapping.fingerprints(plan.changed[entity_id])
        seen = {**(was.seen or {}), **fresh}
        is_news = outcome != "unchanged" or not was.sent
        sent = mapping.sent_after(plan.changed[entity_id], was.sent) if is_news else was.sent
        agreed.append(Agreed(entity_id, external_id, sent, seen, checksum(mapping.key, sent)))
        if outcome == "created":
            counts.created += 1
        elif outcome == "updated":
            counts.updated += 1
        else:
            counts.skipped += 1
    async with db.transaction() as conn:
        if agreed:
            await mapping_store.agree(conn, run, agreed, run.mark(Step.PULL))
        if plan.unchanged:
            await mapping_store.touch(conn, run, plan.unchanged, run.mark(Step.PULL))
        if forgotten:
            await mapping_store.forget(conn, run, forgotten)
        await store.advance(conn, run, *then)
        await store.add(conn, run, counts)
