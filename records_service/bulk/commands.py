"""The engine of bulk calls and imports: writes rows in their order, many with each statement.

    results = await write_rows(context, rows, options)              each wave is a transaction

    async with transaction(context) as conn:                        all rows in one transaction
        results = await write_rows(context, rows, options, conn)

A wave is a run of rows about different records, of at most `WAVE_ROWS` rows and `WAVE_BYTES` bytes.
It takes a constant number of statements: what its rows are judged by is read, they are judged in a
thread, and what they change is written by one statement for the changed records and one for the
new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from records_service.bulk import finding, judging, settling, store
from records_service.bulk.finding import Basis, Sought
from records_service.bulk.judging import Candidate
from records_service.bulk.model import BY_EXTERNAL_KEY, BY_ID, Draft, Options, Result, Row
from records_service.bulk.settling import Settled, Surroundings
from records_service.bulk.work import WAVE_ROWS, Work, attempts
from records_service.context import Context
from records_service.option_lists.lookup_store import look_up
from records_service.records.store import schema_ids_of
from records_service.values.relations import Related
from records_service.writes import batches
from records_service.writes import store as writes
from records_service.writes.model import QuotaExceeded, StripeExhausted
from records_service.writes.quota import any_stripe, make_room
from shared.database import Conn

WAVE_BYTES: Final = 4 << 20


async def write_rows(
    context: Context, rows: Sequence[Row], options: Options, conn: Conn | None = None
) -> list[Result]:
    """Create and update records; one result for each row, in the order of the rows.

    What is wrong with a row is in its result. Without `conn`, what was written before an error that
    is about no row stays. With `conn`, the caller's transaction, all of `work.STALE` may be raised:
    the caller rolls back and begins again.

    Raises `ValidationError` for an attribute that rows cannot match by, `ServiceUnavailable` if
    the records are changed by others again and again.
    """
    results: list[Result] = []
    while len(results) < len(rows):
        results += await write_some(context, rows, len(results), options, conn)
    return results


async def write_some(
    context: Context,
    rows: Sequence[Row],
    start: int,
    options: Options,
    conn: Conn | None = None,
) -> list[Result]:
    """Write the rows from `start` on that can be judged together, at least one; their results.

    Without `conn`, they are one transaction. Raises what `write_rows` raises.
    """
    wave = _wave(rows, start, options)
    places: int | None = None
    while True:
        writing = _Writing(wave, options, places)
        try:
            return await attempts(context, conn, writing.attempt)
        except QuotaExceeded as error:
            # Judged again: the rows for which there is no place fail.
            places = error.places


def _wave(rows: Sequence[Row], start: int, options: Options) -> list[Row]:
    """The rows from `start` on that can be judged together, at least one."""
    wave: list[Row] = []
    names: set[str] = set()
    size = 0
    for row in rows[start : start + WAVE_ROWS]:
        if isinstance(row.asked, Draft):
            size += row.asked.size
            name = _name_of(row.asked, options)
            if wave and (size > WAVE_BYTES or name in names):
                break
            if name is not None:
                names.add(name)
        wave.append(row)
    return wave


def _name_of(asked: Draft, options: Options) -> str | None:
    """What tells most rows about different records apart; `judging.merge_rows` knows the rest."""
    if options.match == BY_ID:
        return asked.id
    if options.match == BY_EXTERNAL_KEY:
        return asked.external_key
    sent = asked.values.get(options.match)
    return None if sent is None else repr(sent)


@dataclass(frozen=True, slots=True)
class _Writing:
    wave: Sequence[Row]
    options: Options
    places: int | None

    async def attempt(self, work: Work) -> list[Result]:
        basis, by = await self._basis(work)
        candidates = await work.run(judging.merge_rows, self.wave, by, basis)
        around = await self._surroundings(work, candidates)
        settled = await work.run(settling.settle, candidates, around, work.context.identity)
        if settled.creates or settled.updates:
            await _store(work, settled, basis.blueprint.version)
        return settled.results

    async def _basis(self, work: Work) -> tuple[Basis, list[Sought]]:
        """What the rows are judged by; read in a few statements, whatever the rows are."""
        context, workspace_id = work.context, work.context.workspace_id
        blueprint = await work.blueprint()
        basis = Basis(
            identity=context.identity,
            role=context.role,
            options=self.options,
            blueprint=blueprint,
            match=finding.matching_attribute(blueprint, self.options),
        )
        by = [Sought()] * len(self.wave)
        if self.options.match != BY_ID:
            by = await work.run(finding.sought, self.wave, basis)
            if basis.chosen.wanted:
                async with work.reading() as conn:
                    await look_up(conn, workspace_id, basis.chosen)
                by = await work.run(finding.sought, self.wave, basis)
            async with work.reading() as conn:
                keys = [key for one in by for key in one.keys]
                basis = replace(basis, holders=await store.holders_of(conn, workspace_id, keys))
        records = await work.records(sorted(finding.ids_wanted(self.wave, by, basis)), blueprint)
        wanted = finding.schemas_wanted(self.wave, records)
        schemas = await work.schemas(blueprint, sorted(wanted))
        basis = replace(basis, records=records, schemas=schemas)
        if any(schema.required_relations for schema in schemas.values()):
            named = await work.run(finding.named_by_required, basis)
            async with work.reading() as conn:
                found = await schema_ids_of(conn, workspace_id, sorted(named))
            basis = replace(basis, related=Related(frozenset(named), found))
        if any(schema.chooses_from_large for schema in schemas.values()):
            await work.run(finding.note_chosen, self.wave, basis)
            async with work.reading() as conn:
                await look_up(conn, workspace_id, basis.chosen)
        return basis, by

    async def _surroundings(
        self, work: Work, candidates: Sequence[Candidate | Result]
    ) -> Surroundings:
        workspace_id = work.context.workspace_id
        changing = [one for one in candidates if isinstance(one, Candidate)]
        named = sorted(settling.named_by(candidates))
        asked = [one.id for one in changing if one.old is None and one.id_was_asked]
        keys = [key for one in changing for key in one.claimed]
        async with work.reading() as conn:
            return Surroundings(
                holders=await store.holders_of(conn, workspace_id, keys),
                schema_ids=await schema_ids_of(conn, workspace_id, named) if named else {},
                versions=await store.next_versions(conn, workspace_id, asked),
                places=self.places,
            )


async def _store(work: Work, settled: Settled, model_version: int) -> None:
    """Changed records first: a new one may take a unique value that one of them gives up.

    Raises `StaleModel`, `StaleRecord`, or `QuotaExceeded` with nothing written.
    """
    creates, updates = settled.creates, settled.updates
    if not creates:
        async with work.writing() as conn:
            await batches.update_many(conn, updates, model_version=model_version)
        return
    if not updates and work.conn is None:
        with suppress(StripeExhausted):
            async with work.writing() as conn:
                await _insert(conn, work, settled, any_stripe(), model_version)
            return
    async with work.writing() as conn:
        stripe, limit = any_stripe(), work.context.identity.record_limit
        await make_room(conn, work.context.workspace_id, limit, stripe, len(creates))
        if updates:
            await batches.update_many(conn, updates, model_version=model_version)
        await _insert(conn, work, settled, stripe, model_version)


async def _insert(
    conn: Conn, work: Work, settled: Settled, stripe: int, model_version: int
) -> None:
    await writes.insert(
        conn,
        settled.creates,
        model_version=model_version,
        record_limit=work.context.identity.record_limit,
        stripe=stripe,
    )
