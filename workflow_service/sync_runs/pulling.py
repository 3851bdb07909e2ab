"""Brings in what the target has and the records have not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shared.database import Database
from shared.errors import truncated
from shared.ids import new_id
from shared.process.offload import in_thread
from workflow_service.connectors.model import Pulled
from workflow_service.mapping.fingerprints import checksum
from workflow_service.mapping.mapping import Changed, ChannelMapping, Mapped, Unmappable
from workflow_service.sync_runs import mapping_store, store
from workflow_service.sync_runs.mapping_store import Agreed
from workflow_service.sync_runs.model import Counts, Failure, Known, Run, Step
from workflow_service.sync_runs.records import Records, Row

REFUSED: Final = "The record could not be written"
TARGETS_NAMED_MAX: Final = 10


@dataclass(slots=True)
class Plan:
    """What is to be done with some objects of the target."""

    rows: dict[str, Row] = field(default_factory=dict)
    """Record -> what is to be written."""
    external_ids: dict[str, str] = field(default_factory=dict)
    """Record -> the object."""
    changed: dict[str, Changed] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)
    """Object -> the record that is to be made of it."""
    unchanged: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """Records of which nothing but fields of variants has changed."""
    failures: list[Failure] = field(default_factory=list)
    ignored: int = 0
    """Objects with none of the mapped fields."""

    def add(
        self,
        mapping: ChannelMapping,
        entity_id: str,
        item: Pulled,
        changed: Changed,
        whole: Changed | None = None,
    ) -> None:
        """Bring in what has changed at an object."""
        self.changed[entity_id] = changed
        self.external_ids[entity_id] = item.external_id
        if changed.values:
            self.rows[entity_id] = _row(mapping, changed, whole)
        else:
            self.told.append(entity_id)

    def add_new(self, mapping: ChannelMapping, item: Pulled, changed: Changed) -> None:
        """Make a record of an object, if it has anything for one."""
        if not changed.values:
            self.ignored += 1
            if changed.of_several:
                self.failures.append(left_out(changed.of_several, None, item.external_id))
        elif item.external_id not in self.new:
            entity_id = self.new[item.external_id] = new_id("ent")
            self.add(mapping, entity_id, item, changed)


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
        if record is None:
            plan.add_new(mapping, item, changed)
        elif record.entity_id in plan.changed:
            continue
        elif changed.values or changed.of_several:
            plan.add(mapping, record.entity_id, item, changed, whole)
        else:
            plan.unchanged.append(record.entity_id)
    return plan


def _changes(
    mapping: ChannelMapping, item: Pulled, record: Known | None
) -> tuple[Changed, Changed | None]:
    """What is news of an object; and all of it, if its record had something of it before."""
    states = [] if record is None else [each for each in (record.sent, record.seen) if each]
    changed = mapping.changed(item.fields, states)
    return changed, mapping.changed(item.fields, []) if states else None


def _row(mapping: ChannelMapping, changed: Changed, whole: Changed | None) -> Row:
    return Row(
        mapping.values_for(changed, changed.values.keys() - changed.own),
        mapping.values_for(changed, changed.own),
        None if whole is None else mapping.values_for(whole, whole.values.keys()),
    )


def left_out(targets: Collection[str], entity_id: str | None, external_id: str) -> Failure:
    """Why these fields of an object were not brought in."""
    named = ", ".join(f"'{truncated(each)}'" for each in sorted(targets)[:TARGETS_NAMED_MAX])
    return Failure(
        external_id,
        f"Not brought in: {named}. Which variants of the record the object's variants are, is not"
        " known",
        None,
        entity_id,
        external_id,
    )


def not_taken(plan: Plan, entity_id: str, result: Mapping[str, Any] | None) -> Collection[str]:
    """The fields of variants of an object that went to no record."""
    changed = plan.changed[entity_id]
    own = changed.own if result is not None and result["hasVariants"] else ()
    return {*own, *changed.of_several}


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
        async with db.transaction() as conn:
            await store.renew(conn, run)
            await mapping_store.intend_records(conn, run, plan.new, ids)
    results = await records.write(plan.rows) if plan.rows else []
    of_entity = {each.entity_id: each for each in known.values()}
    counts = Counts(skipped=len(plan.unchanged) + plan.ignored, failures=[*plan.failures])
    agreed: list[Agreed] = []
    forgotten: list[str] = []
    for entity_id, result in _outcomes(plan, results):
        _count(counts, plan, entity_id, result)
        if result["outcome"] != "failed":
            agreed.append(_agreed(mapping, plan, entity_id, of_entity.get(entity_id), result))
        elif plan.external_ids[entity_id] in plan.new:
            forgotten.append(entity_id)
    async with db.transaction() as conn:
        await store.renew(conn, run)
        if agreed:
            await mapping_store.agree(conn, run, agreed, run.mark(Step.PULL))
        if plan.unchanged:
            await mapping_store.touch(conn, run, plan.unchanged, run.mark(Step.PULL))
        if forgotten:
            await mapping_store.forget(conn, run, forgotten)
        await store.advance(conn, run, *then)
        await store.add(conn, run, counts)


def _outcomes(
    plan: Plan, results: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What became of each record that is touched, with those that were not written."""
    for result in results:
        yield result["id"], result
    for entity_id in plan.told:
        yield entity_id, {"outcome": "unchanged", "hasVariants": True}


def _count(counts: Counts, plan: Plan, entity_id: str, result: Mapping[str, Any]) -> None:
    external_id, outcome = plan.external_ids[entity_id], result["outcome"]
    if outcome == "failed":
        counts.failures.append(
            Failure(external_id, REFUSED, result["message"], entity_id, external_id)
        )
        return
    left = not_taken(plan, entity_id, result)
    if left:
        counts.failures.append(left_out(left, entity_id, external_id))
    counts.created += outcome == "created"
    counts.updated += outcome == "updated"
    counts.skipped += outcome == "unchanged" and not left


def _agreed(
    mapping: ChannelMapping,
    plan: Plan,
    entity_id: str,
    known: Known | None,
    result: Mapping[str, Any],
) -> Agreed:
    """What is known about a record and its object from now on."""
    was = known or Known(entity_id)
    changed = plan.changed[entity_id]
    left = changed.own if result["hasVariants"] else frozenset()
    seen = {**(was.seen or {}), **mapping.shown_by(changed, left)}
    taken = Mapped({name: each for name, each in changed.values.items() if name not in left})
    is_news = result["outcome"] != "unchanged" or not was.sent
    sent = mapping.sent_after(taken, was.sent) if is_news else was.sent
    return Agreed(entity_id, plan.external_ids[entity_id], sent, seen, checksum(mapping.key, sent))
