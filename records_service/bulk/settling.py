"""Judges rows by what other records hold: the second of two steps; knows no database.

Each row is judged in its order, with what the rows before it change: a later row may take a unique
value that an earlier one gave up, and name a record that an earlier one created.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from records_service.bulk.judging import Candidate, failed
from records_service.bulk.model import BulkOutcome, Result
from records_service.bulk.store import Key
from records_service.model_objects.store import external_key_taken
from records_service.records.relations import check_related
from records_service.search_index.changes import change_in, indexed_in
from records_service.search_texts.notes import note_of
from records_service.values.relations import Related, named
from records_service.values.validation import pointer
from records_service.writes import effects
from records_service.writes.changes import EXTERNAL_KEY, patch
from records_service.writes.marking import Unmarked
from records_service.writes.model import PendingCreate, PendingUpdate, Record
from shared.errors import ApiError, Conflict, LimitExceeded, Violation, truncated
from shared.identity import Identity
from shared.ids import new_id


@dataclass(slots=True)
class Surroundings:
    """What `settle` must know of other records; it takes note of what the rows change."""

    holders: dict[Key, str]
    schema_ids: dict[str, str]
    """Record id -> schema id, of those named by relations that exist."""
    versions: Mapping[str, int]
    """What a new record with an id that was used before begins with."""
    places: int | None = None
    """How many records may be created, None if that is not known."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be written, and the results of all rows once it is."""

    results: list[Result] = field(default_factory=list)
    creates: list[PendingCreate] = field(default_factory=list)
    updates: list[PendingUpdate] = field(default_factory=list)
    unmarked: Unmarked = field(default_factory=Unmarked)


def named_by(candidates: Iterable[Candidate | Result]) -> set[str]:
    """The records that relations of these rows name."""
    return {
        record_id
        for one in candidates
        if isinstance(one, Candidate) and one.relations
        for record_id in named(one.relations, one.schema.relations)
    }


def settle(
    candidates: Sequence[Candidate | Result], around: Surroundings, identity: Identity
) -> Settled:
    """What is to be written for these rows, and their results once it is."""
    settled = Settled()
    for one in candidates:
        if isinstance(one, Candidate):
            try:
                result = _settle(one, around, identity, settled)
            except ApiError as error:
                asked_id = one.id if one.id_was_asked else None
                result = failed(one.index, error, asked_id)
        else:
            result = one
        settled.results.append(result)
    return settled


def _settle(one: Candidate, around: Surroundings, identity: Identity, settled: Settled) -> Result:
    if one.schema.relations:
        asked = frozenset(named(one.relations, one.schema.relations))
        check_related(one.schema, one.relations, Related(asked, around.schema_ids))
    if one.old is not None and not one.changes:
        return Result(one.index, BulkOutcome.UNCHANGED, one.id, one.old.version)
    if one.old is None and around.places == 0:
        raise LimitExceeded(f"Entity limit of {identity.record_limit} reached")
    _check_unique(one, around.holders, tells=identity.unrestricted and identity.may_read)
    record = _next_record(one, around.versions, identity)
    settled.unmarked.add(one.schema, "records", record.id, record.values)
    if one.old is None:
        effects.check_create(record, one.changes)
        indexed = indexed_in(one.schema, record.id, record.values)
        settled.creates.append(
            PendingCreate(
                record,
                one.id_was_asked,
                one.document,
                one.added,
                one.changes,
                new_id("evt"),
                indexed,
            )
        )
        around.schema_ids[record.id] = record.schema_id
        if around.places is not None:
            around.places -= 1
    else:
        write = effects.update_of(identity, record, one.changes)
        effects.check_update(write)
        change = change_in(one.schema, record.id, one.old.values, record.values)
        note = note_of(one.schema, one.old.values, record.values)
        settled.updates.append(
            PendingUpdate(
                record,
                *patch(one.old.values, record.values),
                one.released,
                one.added,
                write,
                change,
                note,
            )
        )
    for key in one.given_up:
        around.holders.pop(key.key, None)
    for key in one.claimed:
        around.holders[key.key] = one.id
    outcome = BulkOutcome.CREATED if one.old is None else BulkOutcome.UPDATED
    return Result(one.index, outcome, record.id, record.version)


def _check_unique(one: Candidate, holders: Mapping[Key, str], *, tells: bool) -> None:
    for key in one.claimed:
        holder = holders.get(key.key, one.id)
        if holder != one.id:
            if key.attribute_id == EXTERNAL_KEY:
                taken = external_key_taken("Entity", key.value)
                raise Conflict(taken.message, violations=[Violation("/externalKey", taken.message)])
            alias = one.schema.attributes[key.attribute_id].alias
            message = (
                f"Value '{truncated(key.value)}' for attribute '{truncated(alias)}' must be unique"
            )
            place = pointer(("/values", alias))
            detail = f"{message}: {_named(holder)} has it" if tells else None
            raise Conflict(message, violations=[Violation(place, message, detail)])


def _named(holder: str) -> str:
    # A variant's id ends with what no id has (bulk/store.py).
    is_variant = holder.endswith("/")
    return f"variant '{holder[:-1]}'" if is_variant else f"record '{holder}'"


def _next_record(one: Candidate, versions: Mapping[str, int], identity: Identity) -> Record:
    if one.old is not None:
        return replace(
            one.old,
            values=one.values,
            version=one.old.version + 1,
            updated_at=effects.now(one.old.updated_at),
            updated_by=identity.id,
            external_key=one.external_key,
        )
    now = effects.now()
    return Record(
        workspace_id=identity.workspace_id,
        id=one.id,
        schema_id=one.schema.definition.id,
        state_id=one.state_id,
        version=versions.get(one.id, 1),
        values=one.values,
        created_at=now,
        updated_at=now,
        created_by=identity.id,
        updated_by=identity.id,
        external_key=one.external_key,
    )
