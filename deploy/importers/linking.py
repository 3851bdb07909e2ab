"""Makes the relations of a plan, once every record that they may name is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from deploy.importers.client import CannotGoOn, Refused
from deploy.importers.move import STALE, TRIES, Move, changed_too_often
from deploy.importers.plan import Kind, Link, Problem, RecordPlan
from deploy.importers.report import Outcome, Place


async def load_relations(move: Move) -> None:
    """Of all records and variants that are there."""
    if not move.linked:
        return
    move.progress.begin("relations", move.linked)
    items = (
        item
        for item in move.plan.records()
        if isinstance(item, RecordPlan) and item.links and item.id in move.present
    )
    async with asyncio.TaskGroup() as tasks:
        for _ in range(move.concurrency):
            tasks.create_task(_link_all(move, items))


async def _link_all(move: Move, plans: Iterator[RecordPlan]) -> None:
    for plan in plans:
        for alias, link in plan.links.items():
            try:
                await _link(move, plan, alias, link)
            except CannotGoOn as why:
                move.stop(why)
                return
        move.progress.step()


async def _link(move: Move, plan: RecordPlan, alias: str, link: Link) -> None:
    absent = [code for target, code in link.targets.items() if target not in move.present]
    there = {t: code for t, code in link.targets.items() if t in move.present}
    report, refused = move.report, bool(absent)
    if absent:
        _refuse(move, plan, alias, absent, "names a product that was not imported")
    try:
        if alias in move.absent_aliases:
            raise Refused(0, "", "the attribute was refused")
        added = await _add_targets(move, plan, alias, list(there)) if there else 0
    except Refused as refusal:
        _refuse(move, plan, alias, list(there.values()), refusal)
        refused = True
    else:
        report.count(Kind.RELATIONS, Outcome.CREATED, added)
        report.count(Kind.RELATIONS, Outcome.UNCHANGED, len(there) - added)
    report.cells[Place.REFUSED if refused else Place.MOVED] += len(link.columns)


def _refuse(move: Move, plan: RecordPlan, alias: str, codes: list[str], why: Refused | str) -> None:
    """One problem for each product that is not linked."""
    message, code = (why.message, why.code) if isinstance(why, Refused) else (why, "")
    move.report.count(Kind.RELATIONS, Outcome.REFUSED, len(codes))
    for one in codes:
        move.report.refuse(
            Problem(
                Kind.RELATIONS,
                plan.source,
                message,
                file=move.plan.file_of(plan),
                line=plan.line,
                columns=plan.links[alias].columns,
                attribute=alias,
                value=one,
                code=code,
            )
        )


async def _add_targets(move: Move, plan: RecordPlan, alias: str, targets: list[str]) -> int:
    """How many were not there yet."""
    for _ in range(TRIES):
        found = await move.sigma.find(plan.path)
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
            await move.sigma.send("PUT", plan.path, {"values": {alias: value}}, tag=found.tag)
        except Refused as refusal:
            if refusal.status != STALE:
                raise
        else:
            return len(added)
    raise changed_too_often()
