"""What a synchronisation would do: the same reads and comparisons, and nothing is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from shared.database import DATABASE
from shared.http import identity_of
from shared.http.retries import DRY_RUNNING
from workflow_service.channels.model import Channel
from workflow_service.connectors.model import Connector, TargetFailed, Tested
from workflow_service.mapping.mapping import ChannelMapping
from workflow_service.sync.commands import check_active, connect_of
from workflow_service.sync_runs import mapping_store, pulling, pushing
from workflow_service.sync_runs.model import ERRORS_SHOWN, STEPS, Counts, Failure, Known, Run, Step
from workflow_service.sync_runs.records import Records, mapping_of

TIME_S: Final = 8.0
"""After this, a trial ends with what it has found."""
CHANGES_SHOWN: Final = 100


@dataclass(slots=True)
class Trial:
    """What was found out."""

    counts: Counts = field(default_factory=Counts)
    failed: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = True
    error: str | None = None

    def fail(self, failures: list[Failure]) -> None:
        """Count what would fail; the first are shown."""
        self.failed += len(failures)
        self.counts.failures += failures[: ERRORS_SHOWN - len(self.counts.failures)]

    def show(self, **change: Any) -> None:
        """A change; the first are shown."""
        if len(self.changes) < CHANGES_SHOWN:
            self.changes.append(change)


class _Nothing:
    """A connector that is tried notes nothing."""

    value = None

    async def save(self, value: str | None) -> None:
        """Forget it."""

    async def check(self) -> None:
        """Nobody else tries this out."""


async def test_connection(request: web.Request, channel: Channel) -> Tested:
    """Whether the target can be reached; raises `TargetFailed`, `ValidationError`."""
    connect = connect_of(request.app, channel)
    with _in_time():
        async with (
            asyncio.timeout(TIME_S),
            connect(request.app, channel.config, _Nothing()) as connector,
        ):
            return await connector.test()


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise TargetFailed(f"The target did not answer within {TIME_S:g} seconds") from None


async def tried(request: web.Request, channel: Channel, run: Run) -> Trial:
    """What this synchronisation would do now, as far as there is time to look.

    Raises what starting it raises.
    """
    app = request.app
    connect = connect_of(app, channel)
    check_active(channel)
    trial, mapping = Trial(), mapping_of(channel)
    token = identity_of(request).token

    async def own() -> str:
        return token

    records = Records(app, channel, own)
    until = time.monotonic() + TIME_S
    running = DRY_RUNNING.set(True)
    try:
        async with connect(app, channel.config, _Nothing()) as connector:
            if Step.PULL in STEPS[run.direction]:
                with _in_time():
                    async with asyncio.timeout(TIME_S):
                        await _pull(app, trial, run, channel, mapping, connector, records, until)
            if Step.PUSH in STEPS[run.direction]:
                await _push(app, trial, run, mapping, records, until)
    except TargetFailed as failure:
        trial.error, trial.complete = str(failure), False
    finally:
        DRY_RUNNING.reset(running)
    return trial


async def _push(
    app: web.Application,
    trial: Trial,
    run: Run,
    mapping: ChannelMapping,
    records: Records,
    until: float,
) -> None:
    place = None
    while True:
        page = await records.page(place)
        async with app[DATABASE].acquire() as conn:
            ids = [each.id for each in page.records]
            known = await mapping_store.of_entities(conn, run, ids)
        plan = pushing.planned(mapping, page.records, known)
        for item in plan.items:
            is_new = item.external_id is None
            before = Known(item.entity_id) if is_new else known[item.entity_id]
            trial.show(
                action="create" if is_new else "update",
                target="channel",
                entityId=item.entity_id,
                externalId=item.external_id,
                fields=plan.differing(mapping, item, before),
            )
            trial.counts.created += is_new
            trial.counts.updated += not is_new
        trial.counts.skipped += len(plan.unchanged)
        trial.fail(plan.failures)
        place = page.next
        if place is None:
            return
        if time.monotonic() > until:
            trial.complete = False
            return


async def _pull(
    app: web.Application,
    trial: Trial,
    run: Run,
    channel: Channel,
    mapping: ChannelMapping,
    connector: Connector,
    records: Records,
    until: float,
) -> None:
    aliases = {each["attributeId"]: each["sourceAttribute"] for each in channel.mappings}
    place: str | None = None
    while True:
        page = await connector.pull(place)
        async with app[DATABASE].acquire() as conn:
            ids = [each.external_id for each in page.items]
            known = await mapping_store.of_objects(conn, run, ids)
        plan = pulling.planned(mapping, page.items, known)
        for result in await records.write(plan.rows) if plan.rows else ():
            _count(trial, plan, result, aliases)
        for entity_id in plan.told:
            _tell(trial, plan, entity_id, None)
        trial.counts.skipped += len(plan.unchanged) + plan.ignored
        trial.fail(plan.failures)
        place = page.next
        if place is None:
            return
        if time.monotonic() > until:
            trial.complete = False
            return


def _count(
    trial: Trial, plan: pulling.Plan, result: Mapping[str, Any], aliases: Mapping[str, str]
) -> None:
    entity_id, outcome = result["id"], result["outcome"]
    external_id = plan.external_ids[entity_id]
    is_new = external_id in plan.new
    shown_id = None if is_new else entity_id
    if outcome == "failed":
        trial.fail(
            [Failure(external_id, pulling.REFUSED, result["message"], shown_id, external_id)]
        )
        return
    _tell(trial, plan, entity_id, result)
    if outcome == "unchanged":
        trial.counts.skipped += not pulling.not_taken(plan, entity_id, result)
    else:
        row = plan.rows[entity_id]
        written = row.values if result["hasVariants"] else {**row.own, **row.values}
        trial.counts.created += outcome == "created"
        trial.counts.updated += outcome == "updated"
        trial.show(
            action="create" if outcome == "created" else "update",
            target="record",
            entityId=shown_id,
            externalId=external_id,
            fields={aliases[each]: value for each, value in written.items()},
        )


def _tell(
    trial: Trial, plan: pulling.Plan, entity_id: str, result: Mapping[str, Any] | None
) -> None:
    """Fail what of an object goes to no record."""
    left = pulling.not_taken(plan, entity_id, result)
    external_id = plan.external_ids[entity_id]
    if left:
        shown_id = None if external_id in plan.new else entity_id
        trial.fail([pulling.left_out(left, shown_id, external_id)])
