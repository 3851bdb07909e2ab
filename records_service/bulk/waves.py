"""Cuts rows into waves, and judges a wave: reads what it is judged by, in a few statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from records_service.bulk import finding, judging, settling, store
from records_service.bulk.finding import Basis, Sought
from records_service.bulk.judging import Candidate
from records_service.bulk.model import BY_EXTERNAL_KEY, BY_ID, Draft, Options, Result, Row
from records_service.bulk.settling import Settled, Surroundings
from records_service.bulk.store import Key
from records_service.bulk.work import WAVE_ROWS, Work
from records_service.option_lists.lookup_store import look_up
from records_service.records.store import schema_ids_of
from records_service.values.relations import Related

WAVE_BYTES: Final = 4 << 20


def next_wave(rows: Sequence[Row], start: int, options: Options) -> list[Row]:
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
class Footprint:
    """Records and unique keys that the rows of a wave are judged by, or that they change."""

    ids: frozenset[str] = frozenset()
    keys: frozenset[Key] = frozenset()

    def check_apart(self, ids: set[str], keys: set[Key]) -> None:
        """Raise `Overlap` if one of these records or keys is in it."""
        if not self.ids.isdisjoint(ids) or not self.keys.isdisjoint(keys):
            raise Overlap


NOTHING: Final = Footprint()


class Overlap(Exception):
    """A wave cannot be judged before the one before it is stored."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A wave of which nothing is written yet."""

    settled: Settled
    model_version: int
    changed: Footprint


async def judge(
    work: Work,
    wave: Sequence[Row],
    options: Options,
    *,
    places: int | None = None,
    being_stored: Footprint = NOTHING,
    hopes: bool = False,
) -> Judged:
    """Judge the rows of a wave, as far as they are about different records: at least one.

    `places` is for how many new records there is room, as far as that is known. `hopes`: new
    records are taken to hold nothing that others hold, which the database tells when they are
    stored. Raises `Overlap` if the rows are judged by something of `being_stored`.
    """
    basis, by = await _basis(work, wave, options, being_stored)
    candidates = await work.run(judging.merge_rows, wave, by, basis)
    around = await _surroundings(work, candidates, places, being_stored, hopes=hopes)
    settled = await work.run(settling.settle, candidates, around, work.context.identity)
    return Judged(settled, basis.blueprint.version, _changed(candidates))


async def _basis(
    work: Work, wave: Sequence[Row], options: Options, being_stored: Footprint
) -> tuple[Basis, list[Sought]]:
    """What the rows are judged by first; the same few statements, whatever the rows are."""
    context, workspace_id = work.context, work.context.workspace_id
    blueprint = await work.blueprint()
    basis = Basis(
        identity=context.identity,
        role=context.role,
        options=options,
        blueprint=blueprint,
        match=finding.matching_attribute(blueprint, options),
    )
    by = [Sought()] * len(wave)
    keys = []
    if options.match != BY_ID:
        by = await work.run(finding.sought, wave, basis)
        if basis.chosen.wanted:
            async with work.reading() as conn:
                await look_up(conn, workspace_id, basis.chosen)
            by = await work.run(finding.sought, wave, basis)
        keys = [key for one in by for key in one.keys]
        async with work.reading() as conn:
            basis = replace(basis, holders=await store.holders_of(conn, workspace_id, keys))
    ids = finding.ids_wanted(wave, by, basis)
    being_stored.check_apart(ids, {key.key for key in keys})
    records = await work.records(sorted(ids), blueprint)
    wanted = finding.schemas_wanted(wave, records)
    schemas = await work.schemas(blueprint, sorted(wanted))
    basis = replace(basis, records=records, schemas=schemas)
    if any(schema.required_relations for schema in schemas.values()):
        named = await work.run(finding.named_by_required, basis)
        being_stored.check_apart(named, set())
        async with work.reading() as conn:
            found = await schema_ids_of(conn, workspace_id, sorted(named))
        basis = replace(basis, related=Related(frozenset(named), found))
    if any(schema.chooses_from_large for schema in schemas.values()):
        await work.run(finding.note_chosen, wave, basis)
        async with work.reading() as conn:
            await look_up(conn, workspace_id, basis.chosen)
    return basis, by


async def _surroundings(
    work: Work,
    candidates: Sequence[Candidate | Result],
    places: int | None,
    being_stored: Footprint,
    *,
    hopes: bool,
) -> Surroundings:
    """What the rows are judged by then: what of their changes others hold, and whom they name."""
    workspace_id = work.context.workspace_id
    changing = [one for one in candidates if isinstance(one, Candidate)]
    named = settling.named_by(candidates)
    being_stored.check_apart(named, {key.key for one in changing for key in one.claimed})
    if hopes:
        changing = [one for one in changing if one.old is not None]
        if not named and not any(one.claimed for one in changing):
            return Surroundings({}, {}, {}, places)
    asked = [one.id for one in changing if one.old is None and one.id_was_asked]
    keys = [key for one in changing for key in one.claimed]
    async with work.reading() as conn:
        return Surroundings(
            holders=await store.holders_of(conn, workspace_id, keys),
            schema_ids=await schema_ids_of(conn, workspace_id, sorted(named)) if named else {},
            versions=await store.next_versions(conn, workspace_id, asked),
            places=places,
        )


def _changed(candidates: Sequence[Candidate | Result]) -> Footprint:
    """What these rows change, and perhaps a little more: of some it turns out that they fail."""
    changing = [one for one in candidates if isinstance(one, Candidate)]
    return Footprint(
        frozenset(one.id for one in changing),
        frozenset(key.key for one in changing for key in (*one.claimed, *one.given_up)),
    )
