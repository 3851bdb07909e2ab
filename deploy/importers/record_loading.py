"""Brings the records and variants of a plan into the workspace.

Records are looked up in batches, and those that are not there are created by one bulk call. What is
there and differs, what the bulk call refuses, and variants go one by one: so a record that was
edited in Sigma is seen, and one refused value does not cost the others of its record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from deploy.importers.client import CannotGoOn, Denied, Found, Refused
from deploy.importers.comparing import changed_values, entries_of
from deploy.importers.move import CONFLICT, STALE, TRIES, Move, changed_too_often
from deploy.importers.plan import Kind, RecordPlan, RefusedRow
from deploy.importers.report import Outcome, Place
from deploy.importers.rows import refuse_row, take_note
from deploy.importers.upload import RecordUpload

BATCH = 200
BULK_CALLS = 2
"""At a time: a process of the API runs no more than two of a workspace."""
LOOKED_UP_AT_A_TIME = 50
"""Ids in one query: 50 of 128 characters are within what a URL may hold."""
_API_KEY_ID = "apikey-"


async def load_records(move: Move) -> None:
    """All records, then the variants level by level, since each needs what is above it."""
    loading = _Records(move)
    move.progress.begin("records", move.plan.record_count)
    items = (
        item
        for item in move.plan.records()
        if isinstance(item, RefusedRow) or item.kind is Kind.RECORDS
    )
    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(move.concurrency, BULK_CALLS)):
            tasks.create_task(loading.work_through_batches(items))
    level = 1
    while move.plan.variant_count and move.report.stopped is None:
        variants = _of_level(move, level)
        first = next(variants, None)
        if first is None:
            break
        move.progress.begin(f"variants of level {level}", move.plan.variant_count)
        await loading.one(first)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(move.concurrency):
                tasks.create_task(loading.work_through(variants))
        level += 1


def _of_level(move: Move, level: int) -> Iterator[RecordPlan]:
    for item in move.plan.records():
        if isinstance(item, RecordPlan) and item.parent and item.parent.level == level:
            yield item


@dataclass(frozen=True, slots=True)
class _Records:
    move: Move

    async def work_through_batches(self, items: Iterator[RecordPlan | RefusedRow]) -> None:
        # The workers share the iterator: between two awaits only one of them runs.
        while self.move.report.stopped is None:
            batch = list(islice(items, BATCH))
            if not batch:
                return
            plans = []
            for item in batch:
                if isinstance(item, RefusedRow):
                    refuse_row(self.move.report, item)
                    self.move.progress.step()
                else:
                    plans.append(item)
            try:
                await self._batch(plans)
            except (CannotGoOn, Denied) as why:
                self.move.stop(why)

    async def work_through(self, items: Iterator[RecordPlan]) -> None:
        for item in items:
            if self.move.report.stopped is not None:
                return
            await self.one(item)

    async def one(self, plan: RecordPlan) -> None:
        """A record or variant by itself."""
        try:
            sending = self._prepared(plan)
            if sending is not None:
                await self._deliver(sending)
        except (CannotGoOn, Denied) as why:
            self.move.stop(why)
        self.move.progress.step()

    async def _batch(self, plans: Sequence[RecordPlan]) -> None:
        uploads = [one for one in map(self._prepared, plans) if one is not None]
        self.move.progress.step(len(plans) - len(uploads))
        there = await self._look_up([one.plan.id for one in uploads])
        new = [one for one in uploads if one.plan.id not in there]
        created = await self._create_all(new)
        others = []
        # What is there is noted first: whatever ends the move meanwhile does not make it undone.
        for sending in uploads:
            found = there.get(sending.plan.id)
            if sending.plan.id in created:
                self._note(sending, Outcome.CREATED)
            elif found is not None and not self._differs(sending, found):
                self._note(sending, Outcome.UNCHANGED)
            else:
                others.append(sending)
                continue
            self.move.progress.step()
        for sending in others:
            if self.move.report.stopped is not None:
                return
            await self._deliver(sending, was_absent=sending.plan.id not in there)
            self.move.progress.step()

    async def _look_up(self, ids: Sequence[str]) -> dict[str, Any]:
        there: dict[str, Any] = {}
        for start in range(0, len(ids), LOOKED_UP_AT_A_TIME):
            some = ids[start : start + LOOKED_UP_AT_A_TIME]
            path = f"/records?ids={','.join(some)}&limit={len(some)}&total=none"
            there |= {one["id"]: one for one in (await self.move.sigma.get(path))["items"]}
        return there

    async def _create_all(self, uploads: Sequence[RecordUpload]) -> set[str]:
        """The ids of those that one bulk call created."""
        if not uploads:
            return set()
        rows = [_body(one) for one in uploads]
        path = "/records/bulk?onMatch=skip"
        try:
            done = await self.move.sigma.send("POST", path, {"operations": rows})
        except Denied:
            raise
        except Refused:
            return set()  # One by one they are told apart.
        return {one["id"] for one in done["results"] if one["outcome"] == "created"}

    def _prepared(self, plan: RecordPlan) -> RecordUpload | None:
        """Without values of refused attributes; None for what cannot be there at all."""
        if plan.schema_id in self.move.absent:
            self.move.refuse_record(plan, f"its schema '{plan.schema_id}' was refused")
            return None
        if plan.parent is not None and plan.parent.id not in self.move.present:
            self.move.refuse_record(plan, "what it is a variant of was not imported")
            return None
        sending = RecordUpload(plan, dict(plan.values), self.move.plan.file_of(plan))
        for alias in self.move.absent_aliases & plan.values.keys():
            sending.drop(alias, None, "the attribute was refused")
        return sending

    async def _deliver(self, sending: RecordUpload, *, was_absent: bool = False) -> None:
        plan = sending.plan
        try:
            outcome = await self._bring(sending)
        except Denied:
            raise
        except Refused as refusal:
            if refusal.code == "LIMIT_EXCEEDED":
                self.move.stop(
                    f"{refusal.code} {refusal.message}. Raise the workspace's record limit and"
                    f" run again: nothing is imported twice"
                )
            else:
                self.move.refuse_record(plan, refusal.message, refusal.code)
            return
        if outcome is Outcome.UNCHANGED and was_absent:
            outcome = Outcome.CREATED  # By the bulk call, whose answer was lost on the way.
        if outcome is not Outcome.REFUSED:
            self._note(sending, outcome)

    def _note(self, sending: RecordUpload, outcome: Outcome) -> None:
        plan, report = sending.plan, self.move.report
        self.move.present.add(plan.id)
        self.move.linked += bool(plan.links)
        self.move.assigned += bool(plan.categories)
        take_note(report, plan)
        for problem in sending.problems:
            report.refuse(problem)
        report.count(plan.kind, outcome)
        lost = sum(len(problem.columns) for problem in sending.problems)
        moved = Place.KEPT if outcome is Outcome.KEPT else Place.MOVED
        report.cells[moved] += plan.cells - plan.cells_sent_later - lost
        report.cells[Place.REFUSED] += lost

    async def _bring(self, sending: RecordUpload) -> Outcome:
        """Create or change, and once more without the values that the API refuses."""
        for _ in range(TRIES):
            try:
                found = await self.move.sigma.find(sending.path)
                if found is None:
                    return await self._create(sending)
                return await self._change(sending, found)
            except Refused as refusal:
                if refusal.status == STALE:
                    continue  # Somebody else changed the record.
                # Values are refused one by one. But one that another record has is what tells the
                # two apart, so without it this record would be a second of the same.
                if refusal.status == CONFLICT or not sending.drop_faulty(refusal):
                    raise
        raise changed_too_often()

    async def _create(self, sending: RecordUpload) -> Outcome:
        body = _body(sending)
        try:
            await self.move.sigma.send("POST", sending.path.rpartition("/")[0], body)
        except Refused as refusal:
            if refusal.status != CONFLICT:
                raise
            found = await self.move.sigma.find(sending.path)
            if found is None or changed_values(found.body["values"], sending.values):
                raise
            # It is there as it was sent: the answer was lost on the way.
        return Outcome.CREATED

    async def _change(self, sending: RecordUpload, found: Found) -> Outcome:
        plan, there, report = sending.plan, found.body, self.move.report
        if why := _misplaced(plan, there):
            self.move.refuse_record(plan, why)
            return Outcome.REFUSED
        changes = changed_values(there["values"], sending.values)
        if not changes:
            return Outcome.UNCHANGED
        names = ", ".join(sorted(changes))
        if not self.move.overwrite_edits and not there["updatedBy"].startswith(_API_KEY_ID):
            report.changed(
                f"{plan.kind} '{plan.source}' (line {plan.line}) was kept as edited by"
                f" '{there['updatedBy']}'; it differs in {names}"
            )
            return Outcome.KEPT
        sending.sent = changes
        try:
            await self.move.sigma.send("PUT", sending.path, {"values": changes}, tag=found.tag)
        except Denied as denial:
            # The key may write, or the record would not be there: this state of it is closed.
            self.move.refuse_record(plan, f"{denial.message} to change {names}", denial.code)
            return Outcome.REFUSED
        report.changed(f"{plan.kind} '{plan.source}' (line {plan.line}): {names}")
        return Outcome.CHANGED

    def _differs(self, sending: RecordUpload, there: Any) -> bool:
        return bool(
            _misplaced(sending.plan, there) or changed_values(there["values"], sending.values)
        )


def _misplaced(plan: RecordPlan, there: Any) -> str | None:
    """Why what is there cannot become what the plan says, or None."""
    if plan.parent is not None:
        if there["parentId"] == plan.parent.id:
            return None
        return (
            f"the variant exists below '{there['parentId']}', not '{plan.parent.id}':"
            " a variant cannot change its parent"
        )
    if there["schemaId"] == plan.schema_id:
        return None
    return (
        f"the record exists with schema '{there['schemaId']}', not '{plan.schema_id}':"
        " a record cannot change its schema"
    )


def _body(sending: RecordUpload) -> dict[str, Any]:
    plan = sending.plan
    sending.sent = {alias: entries_of(entries) for alias, entries in sending.values.items()}
    if plan.parent is not None:
        return {"id": plan.id, "parentId": plan.parent.id, "values": sending.sent}
    body = {"id": plan.id, "schemaId": plan.schema_id, "values": sending.sent}
    return body if plan.external_key is None else {**body, "externalKey": plan.external_key}
