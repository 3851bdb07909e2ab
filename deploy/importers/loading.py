"""Executes a plan in a workspace with any existing content, and reports each outcome.

Ids are derived from the source, so every object is looked up before it is written: a second run
changes nothing, and a run that broke off is finished by the next. Nothing is ever taken away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from deploy.importers.client import CannotGoOn, Denied, Found, Refused, Sigma
from deploy.importers.comparing import (
    changed_fields,
    changed_values,
    entries_of,
    incompatibility,
    merged,
)
from deploy.importers.plan import (
    Kind,
    Link,
    ModelObject,
    Plan,
    Problem,
    RecordPlan,
    RefusedRow,
)
from deploy.importers.progress import Progress
from deploy.importers.report import Outcome, Place, Report
from deploy.importers.rows import refuse_row, take_note
from deploy.importers.upload import RecordUpload

CONCURRENCY = 8
TRIES = 5
_PATHS = {
    Kind.DIMENSIONS: "/dimensions",
    Kind.OPTION_LISTS: "/option-lists",
    Kind.ATTRIBUTES: "/attributes",
    Kind.WORKFLOWS: "/workflows",
    Kind.SCHEMAS: "/schemas",
}
_API_KEY_ID = "apikey-"
_CONFLICT, _STALE = 409, 412


async def load(
    sigma: Sigma,
    plan: Plan,
    report: Report,
    progress: Progress,
    *,
    concurrency: int = CONCURRENCY,
    overwrite_edits: bool = False,
) -> None:
    """The whole move. What cannot go on ends up as `report.stopped`, not as an exception."""
    loading = _Loading(sigma, plan, report, progress, overwrite_edits)
    try:
        await loading.model()
        await loading.records(concurrency)
        if report.stopped is None:
            await loading.relations(concurrency)
    except (CannotGoOn, Denied) as why:
        report.stopped = str(why)
    finally:
        report.retries = sigma.retries
        progress.end()


@dataclass(slots=True)
class _Loading:
    sigma: Sigma
    plan: Plan
    report: Report
    progress: Progress
    overwrite_edits: bool
    absent: set[str] = field(default_factory=set)
    """Ids of model objects that were refused."""
    absent_aliases: set[str] = field(default_factory=set)
    """Aliases of refused attributes."""
    present: set[str] = field(default_factory=set)
    """Ids of the records that are there."""
    linked: int = 0
    """How many of them have relations to make."""

    # The model, one object after the other: it is small, and each needs those before it.

    async def model(self) -> None:
        for problem in self.plan.problems:
            self.report.refuse(problem)
        for kind, path in _PATHS.items():
            objects = [one for one in self.plan.model if one.kind is kind]
            self.progress.begin(kind, len(objects))
            there = {one["id"]: one for one in await self.sigma.get(path)}
            for model_object in objects:
                wanted = self._without_absent(model_object)
                found = there.get(wanted.id)
                if found is not None and not found.get("valuesComplete", True):
                    # A large list of options is listed without them.
                    found = await self.sigma.get(f"{path}/{wanted.id}")
                outcome = await self._model_object(wanted, found)
                self.report.count(kind, outcome)
                self.progress.step()

    async def _model_object(self, wanted: ModelObject, there: Any) -> Outcome:
        path = _PATHS[wanted.kind]
        try:
            if there is None:
                return await self._create_model_object(path, wanted)
            return await self._change_model_object(path, wanted, there)
        except Denied:
            raise
        except Refused as refusal:
            faults = "; ".join(fault.message for fault in refusal.faults[1:])
            message = f"{refusal.message}; {faults}" if faults else refusal.message
            return self._refuse_model_object(wanted, message, refusal.code)

    async def _create_model_object(self, path: str, wanted: ModelObject) -> Outcome:
        try:
            await self.sigma.send("POST", path, wanted.body)
        except Refused as refusal:
            if refusal.status != _CONFLICT:
                raise
            # Its answer was lost, or its alias belongs to something else.
            found = await self.sigma.find(f"{path}/{wanted.id}")
            if found is None or changed_fields(found.body, merged(found.body, wanted.body)):
                raise
        return Outcome.CREATED

    async def _change_model_object(self, path: str, wanted: ModelObject, there: Any) -> Outcome:
        why = incompatibility(wanted.kind, there, wanted.body)
        if why is not None:
            return self._refuse_model_object(wanted, why)
        body = merged(there, wanted.body)
        fields = changed_fields(there, body)
        if not fields:
            return Outcome.UNCHANGED
        await self.sigma.send("PUT", f"{path}/{wanted.id}", body)
        self.report.changed(f"{wanted.kind} '{wanted.source}': {', '.join(fields)}")
        return Outcome.CHANGED

    def _refuse_model_object(self, wanted: ModelObject, message: str, code: str = "") -> Outcome:
        self.absent.add(wanted.id)
        if wanted.kind is Kind.ATTRIBUTES:
            self.absent_aliases.add(wanted.body["alias"])
        self.report.refuse(Problem(wanted.kind, wanted.source, message, code=code))
        return Outcome.REFUSED

    def _without_absent(self, wanted: ModelObject) -> ModelObject:
        """Without naming what was refused: the rest can still be used."""
        body = dict(wanted.body)
        if wanted.kind is Kind.SCHEMAS:
            body["attributeGroups"] = [
                {**group, "attributeIds": self._not_absent(group["attributeIds"])}
                for group in body["attributeGroups"]
            ]
            if body.get("workflowId") in self.absent:
                del body["workflowId"]
        if wanted.kind is Kind.WORKFLOWS:
            body["states"] = [
                {**state, "required": self._not_absent(state["required"])}
                for state in body["states"]
            ]
        return replace(wanted, body=body)

    def _not_absent(self, ids: list[str]) -> list[str]:
        return [one for one in ids if one not in self.absent]

    # The records, several at a time.

    async def records(self, concurrency: int) -> None:
        self.progress.begin("records", self.plan.record_count)
        items = iter(self.plan.records())
        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(self._work_through(items))

    async def _work_through(self, items: Iterator[RecordPlan | RefusedRow]) -> None:
        # The workers share the iterator: between two awaits only one of them runs.
        for item in items:
            if isinstance(item, RefusedRow):
                refuse_row(self.report, item)
            else:
                try:
                    await self._record(item)
                except (CannotGoOn, Denied) as why:
                    self.report.stopped = self.report.stopped or str(why)
            if self.report.stopped is not None:
                return
            self.progress.step()

    async def _record(self, plan: RecordPlan) -> None:
        if plan.schema_id in self.absent:
            self._refuse_record(plan, f"its schema '{plan.schema_id}' was refused")
            return
        sending = RecordUpload(plan, dict(plan.values), self.plan.records_file)
        for alias in self.absent_aliases & plan.values.keys():
            sending.drop(alias, None, "the attribute was refused")
        try:
            outcome = await self._bring(sending)
        except Denied:
            raise
        except Refused as refusal:
            if refusal.code == "LIMIT_EXCEEDED":
                self.report.stopped = self.report.stopped or (
                    f"{refusal.code} {refusal.message}. Raise the workspace's record limit and"
                    f" run again: nothing is imported twice"
                )
                return
            self._refuse_record(plan, refusal.message, refusal.code)
            return
        if outcome is Outcome.REFUSED:
            return
        self.present.add(plan.id)
        self.linked += bool(plan.links)
        take_note(self.report, plan)
        for problem in sending.problems:
            self.report.refuse(problem)
        self.report.count(Kind.RECORDS, outcome)
        lost = sum(len(problem.columns) for problem in sending.problems)
        moved = Place.KEPT if outcome is Outcome.KEPT else Place.MOVED
        self.report.cells[moved] += plan.cells - len(plan.links) - lost
        self.report.cells[Place.REFUSED] += lost

    async def _bring(self, sending: RecordUpload) -> Outcome:
        """Create or change, and once more without the values that the API refuses."""
        for _ in range(TRIES):
            try:
                found = await self.sigma.find(sending.path)
                if found is None:
                    return await self._create(sending)
                return await self._change(sending, found)
            except Refused as refusal:
                # Somebody else changed the record, or values are refused one by one.
                if refusal.status != _STALE and not sending.drop_faulty(refusal):
                    raise
        raise Refused(_STALE, "PRECONDITION_FAILED", "it is being changed too often at the moment")

    async def _create(self, sending: RecordUpload) -> Outcome:
        plan = sending.plan
        sending.sent = {alias: entries_of(entries) for alias, entries in sending.values.items()}
        body = {"id": plan.id, "schemaId": plan.schema_id, "values": sending.sent}
        try:
            await self.sigma.send("POST", "/records", body)
        except Refused as refusal:
            if refusal.status != _CONFLICT:
                raise
            found = await self.sigma.find(sending.path)
            if found is None or changed_values(found.body["values"], sending.values):
                raise
            # It is there as it was sent: the answer was lost on the way.
        return Outcome.CREATED

    async def _change(self, sending: RecordUpload, found: Found) -> Outcome:
        plan, there = sending.plan, found.body
        if there["schemaId"] != plan.schema_id:
            message = (
                f"the record exists with schema '{there['schemaId']}', not '{plan.schema_id}':"
                " a record cannot change its schema"
            )
            self._refuse_record(plan, message)
            return Outcome.REFUSED
        changes = changed_values(there["values"], sending.values)
        if not changes:
            return Outcome.UNCHANGED
        names = ", ".join(sorted(changes))
        if not self.overwrite_edits and not there["updatedBy"].startswith(_API_KEY_ID):
            self.report.changed(
                f"records '{plan.source}' (line {plan.line}) was kept as edited by"
                f" '{there['updatedBy']}'; it differs in {names}"
            )
            return Outcome.KEPT
        sending.sent = changes
        try:
            await self.sigma.send("PUT", sending.path, {"values": changes}, tag=found.tag)
        except Denied as denial:
            # The key may write, or the record would not be there: this state of it is closed.
            self._refuse_record(plan, f"{denial.message} to change {names}", denial.code)
            return Outcome.REFUSED
        self.report.changed(f"records '{plan.source}' (line {plan.line}): {names}")
        return Outcome.CHANGED

    def _refuse_record(self, plan: RecordPlan, message: str, code: str = "") -> None:
        take_note(self.report, plan)
        self.report.count(Kind.RECORDS, Outcome.REFUSED)
        self.report.cells[Place.REFUSED] += plan.cells
        self.report.refuse(
            Problem(
                Kind.RECORDS,
                plan.source,
                message,
                file=self.plan.records_file,
                line=plan.line,
                code=code,
            )
        )

    # The relations, once every record that they may name is there.

    async def relations(self, concurrency: int) -> None:
        if not self.linked:
            return
        self.progress.begin("relations", self.linked)
        items = (
            item
            for item in self.plan.records()
            if isinstance(item, RecordPlan) and item.links and item.id in self.present
        )
        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(self._link_all(items))

    async def _link_all(self, plans: Iterator[RecordPlan]) -> None:
        for plan in plans:
            for alias, link in plan.links.items():
                try:
                    await self._link(plan, alias, link)
                except CannotGoOn as why:
                    self.report.stopped = self.report.stopped or str(why)
                    return
            self.progress.step()

    async def _link(self, plan: RecordPlan, alias: str, link: Link) -> None:
        absent = [code for target, code in link.targets.items() if target not in self.present]
        there = {t: code for t, code in link.targets.items() if t in self.present}
        report, refused = self.report, bool(absent)
        if absent:
            self._refuse_links(plan, alias, absent, "names a product that was not imported")
        try:
            if alias in self.absent_aliases:
                raise Refused(0, "", "the attribute was refused")
            added = await self._add_targets(plan.id, alias, list(there)) if there else 0
        except Refused as refusal:
            self._refuse_links(plan, alias, list(there.values()), refusal)
            refused = True
        else:
            report.count(Kind.RELATIONS, Outcome.CREATED, added)
            report.count(Kind.RELATIONS, Outcome.UNCHANGED, len(there) - added)
        report.cells[Place.REFUSED if refused else Place.MOVED] += 1

    def _refuse_links(
        self, plan: RecordPlan, alias: str, codes: list[str], why: Refused | str
    ) -> None:
        """One problem for each product that is not linked."""
        message, code = (why.message, why.code) if isinstance(why, Refused) else (why, "")
        self.report.count(Kind.RELATIONS, Outcome.REFUSED, len(codes))
        for one in codes:
            self.report.refuse(
                Problem(
                    Kind.RELATIONS,
                    plan.source,
                    message,
                    file=self.plan.records_file,
                    line=plan.line,
                    columns=(plan.links[alias].column,),
                    attribute=alias,
                    value=one,
                    code=code,
                )
            )

    async def _add_targets(self, record_id: str, alias: str, targets: list[str]) -> int:
        """How many were not there yet."""
        path = f"/records/{record_id}"
        for _ in range(TRIES):
            found = await self.sigma.find(path)
            if found is None:
                raise Refused(404, "NOT_FOUND", "the record was deleted during the import")
            entries = found.body["values"].get(alias, [])
            there: list[str] = next((e["value"] for e in entries if not e["scope"]), [])
            added = [target for target in targets if target not in there]
            if not added:
                return 0
            others = [entry for entry in entries if entry["scope"]]
            value = [{"scope": {}, "value": [*there, *added]}, *others]
            try:
                await self.sigma.send("PUT", path, {"values": {alias: value}}, tag=found.tag)
            except Refused as refusal:
                if refusal.status != _STALE:
                    raise
            else:
                return len(added)
        raise Refused(_STALE, "PRECONDITION_FAILED", "it is being changed too often at the moment")
