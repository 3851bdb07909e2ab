"""Sends to the target what has changed since it was sent."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.database import Database
from shared.ids import new_id
from shared.process.offload import in_thread
from workflow_service.connectors.model import (
    Connector,
    Interrupted,
    Item,
    NoList,
    Postponed,
    Refused,
    Sent,
)
from workflow_service.mapping.fingerprints import checksum
from workflow_service.mapping.mapping import ChannelMapping, Mapped, Source, Unmappable
from workflow_service.sync_runs import mapping_store, store
from workflow_service.sync_runs.mapping_store import Agreed
from workflow_service.sync_runs.model import Counts, Failure, Known, Run, Step


@dataclass(slots=True)
class Plan:
    """What is to be done with some records."""

    items: list[Item] = field(default_factory=list)
    mapped: dict[str, Mapped] = field(default_factory=dict)
    """Record -> what the target is to have."""
    unchanged: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def differing(self, mapping: ChannelMapping, item: Item, known: Known) -> dict[str, Any]:
        """Target field -> value, of those with which an item differs from what was sent."""
        mapped = self.mapped[item.entity_id]
        fresh = mapping.fingerprints(mapped)
        return {
            target: value
            for target, value in mapped.values.items()
            if fresh.get(target) != known.sent.get(target)
        }


def planned(
    mapping: ChannelMapping,
    records: Sequence[Source],
    known: Mapping[str, Known],
    mark: str | None = None,
) -> Plan:
    """What is to be done with these records; nothing with those that have the mark already."""
    plan = Plan()
    for record in records:
        at_target = known.get(record.id, Known(record.id))
        if mark is not None and at_target.last_mark == mark:
            continue
        try:
            mapped = mapping.mapped(record)
        except Unmappable as fault:
            plan.failures.append(
                Failure(record.id, str(fault), None, record.id, at_target.external_id)
            )
            continue
        sent = at_target.sent if at_target.external_id is not None else {}
        is_new = at_target.external_id is None
        if not (is_new or mapping.differs(mapped, sent)):
            plan.unchanged.append(record.id)
            continue
        plan.mapped[record.id] = mapped
        plan.items.append(
            Item(
                record.id,
                mapping.to_send(mapped, sent),
                at_target.external_id,
                _key(mapping, mapped, at_target) if is_new else "",
                mapped.variant_ids,
                at_target.variants,
            )
        )
    return plan


async def push_page(
    db: Database,
    run: Run,
    mapping: ChannelMapping,
    connector: Connector,
    records: Sequence[Source],
    *,
    then: tuple[Step, Any],
) -> None:
    """Send some records, and note what became of them, and how far the run is by that (`then`).

    Creates are noted before they are sent. What the target has confirmed is stored also where it
    fails in the middle: then raises `TargetFailed`, and the run is no further.
    """
    async with db.acquire() as conn:
        known = await mapping_store.of_entities(conn, run, [each.id for each in records])
    plan = await in_thread(planned, mapping, records, known, run.mark(Step.PUSH))
    creates = {each.entity_id: each.key for each in plan.items if each.external_id is None}
    if creates:
        async with db.transaction() as conn:
            await store.renew(conn, run)
            await mapping_store.intend_creates(
                conn,
                run,
                creates,
                {each: mapping.fingerprints(plan.mapped[each]) for each in creates},
                {each: mapping.seen_after(plan.mapped[each], None) for each in creates},
                [new_id("map") for _ in creates],
            )
    outcomes: list[Sent | Refused | Postponed] = []
    ended: BaseException | None = None
    try:
        if plan.items:
            # Kept one by one: it may end with an error.
            async for outcome in connector.push(plan.items):
                outcomes.append(outcome)  # noqa: PERF401
    except BaseException as error:  # noqa: BLE001 - raised again below
        ended = error
    await _store(db, run, mapping, plan, known, outcomes, then if ended is None else None)
    if ended is not None:
        raise ended


async def _store(
    db: Database,
    run: Run,
    mapping: ChannelMapping,
    plan: Plan,
    known: Mapping[str, Known],
    outcomes: Sequence[Sent | Refused | Postponed],
    then: tuple[Step, Any] | None,
) -> None:
    items = {each.entity_id: each for each in plan.items}
    sent = {each.entity_id: each for each in outcomes if isinstance(each, Sent)}
    refused = [each for each in outcomes if isinstance(each, Refused)]
    counts = Counts(
        failures=[*plan.failures, *(_failure(each, items[each.entity_id]) for each in refused)]
    )
    forgotten = [
        each.entity_id
        for each in refused
        if each.is_gone or (items[each.entity_id].external_id is None and not each.is_unknown)
    ] + [
        # Nobody has to look for it at the target, but if an earlier attempt may have made it.
        each.entity_id
        for each in outcomes
        if isinstance(each, Postponed)
        and each.entity_id not in known
        and items[each.entity_id].external_id is None
    ]
    async with db.transaction() as conn:
        # First, so that two processes that deal with the same records wait in one order.
        await store.renew(conn, run)
        taken = await mapping_store.taken(conn, run, [each.external_id for each in sent.values()])
        agreed: dict[str, Agreed] = {}
        for one in sent.values():
            owner = taken.setdefault(one.external_id, one.entity_id)
            if owner != one.entity_id:
                reason = "The target answered with the id of the object of another record"
                counts.failures.append(
                    Failure(one.entity_id, reason, owner, one.entity_id, one.external_id)
                )
                forgotten.append(one.entity_id)
                continue
            was = known.get(one.entity_id, Known(one.entity_id))
            before = was.sent if was.external_id is not None else {}
            fresh = mapping.sent_after(plan.mapped[one.entity_id], before)
            agreed[one.entity_id] = Agreed(
                one.entity_id,
                one.external_id,
                fresh,
                mapping.seen_after(plan.mapped[one.entity_id], was.seen),
                checksum(mapping.key, fresh),
            )
            if items[one.entity_id].external_id is None:
                counts.created += 1
            else:
                counts.updated += 1
        if agreed:
            await mapping_store.agree(conn, run, list(agreed.values()), run.mark(Step.PUSH))
        variants = {
            each.entity_id: each.variants
            for each in sent.values()
            if each.entity_id in agreed
            and dict(each.variants) != dict(items[each.entity_id].variants)
        }
        if variants:
            ids = [new_id("map") for of_entity in variants.values() for _ in of_entity]
            await mapping_store.keep_variants(conn, run, variants, ids)
        if forgotten:
            await mapping_store.forget(conn, run, forgotten)
        if then is not None:
            counts.skipped = len(plan.unchanged)
            await mapping_store.touch(conn, run, plan.unchanged, run.mark(Step.PUSH))
            await store.advance(conn, run, *then)
        await store.add(conn, run, counts)


def _failure(refused: Refused, item: Item) -> Failure:
    return Failure(item.entity_id, refused.reason, refused.detail, item.entity_id, item.external_id)


def _key(mapping: ChannelMapping, mapped: Mapped, known: Known) -> str:
    """That of the earlier attempt, if that has sent the same."""
    if known.attempt is not None and mapping.fingerprints(mapped) == dict(known.sent):
        return known.attempt
    return str(uuid.uuid4())


async def find_lost(db: Database, run: Run, mapping: ChannelMapping, connector: Connector) -> None:
    """Find out which creates the target has had whose answer was lost.

    Where the connector cannot ask, the objects of the target are compared with what was sent. Where
    those cannot be read either, the key of the create is what keeps it from being carried out
    twice.
    """
    async with db.acquire() as conn:
        lost = await mapping_store.lost(conn, run)
    if not lost:
        return
    asked = [Interrupted(each.entity_id, each.attempt or "") for each in lost]
    found = await connector.find(asked)
    if found is None:
        found = await _compared(db, run, mapping, connector, lost)
    if found:
        async with db.transaction() as conn:
            await store.renew(conn, run)
            taken = await mapping_store.taken(conn, run, list(found.values()))
            free = {each: id_ for each, id_ in found.items() if id_ not in taken}
            await mapping_store.adopt(conn, run, free)


async def _compared(
    db: Database,
    run: Run,
    mapping: ChannelMapping,
    connector: Connector,
    lost: Sequence[Known],
) -> dict[str, str]:
    """Entity id -> external id, by equal fields; an object that is known already is left out.

    Raises `TargetFailed` where the list cannot be read at the moment: nobody knows then what would
    be created twice. A target without a list has nothing to compare.
    """
    left = LostCreates(mapping, lost)
    found: dict[str, str] = {}
    after: str | None = None
    try:
        while left.some:
            page = await connector.pull(after)
            async with db.acquire() as conn:
                taken = await mapping_store.taken(
                    conn, run, [each.external_id for each in page.items]
                )
            for each in page.items:
                if each.external_id in taken:
                    continue
                entity_id = left.take(each.fields)
                if entity_id is not None:
                    found[entity_id] = each.external_id
            if page.next is None:
                break
            after = page.next
    except NoList:
        return found
    return found


class LostCreates:
    """Creates of unknown outcome, by what was sent: an object costs the same however many."""

    def __init__(self, mapping: ChannelMapping, lost: Sequence[Known]) -> None:
        self._mapping = mapping
        by_fields: dict[tuple[str, ...], dict[tuple[str, ...], list[str]]] = {}
        for each in reversed(lost):
            sent = mapping.comparable(each.sent)
            if sent:
                alike = by_fields.setdefault(tuple(sent), {})
                alike.setdefault(tuple(sent.values()), []).append(each.entity_id)
        # What has more in common with an object is it rather.
        self._by_fields = dict(sorted(by_fields.items(), key=lambda of: -len(of[0])))

    @property
    def some(self) -> bool:
        """Whether any is left that could be found."""
        return bool(self._by_fields)

    def take(self, of_target: Any) -> str | None:
        """The record that this object is, which is then no longer among them."""
        shown = self._mapping.shown(of_target)
        for fields, alike in self._by_fields.items():
            values = tuple(shown.get(each, "") for each in fields)
            if values in alike:
                entity_id = alike[values].pop()
                if not alike[values]:
                    del alike[values]
                if not alike:
                    del self._by_fields[fields]
                return entity_id
        return None
