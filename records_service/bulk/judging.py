"""Judges rows by the rules of single writes: the first of two steps; knows no database.

A wave is a run of rows of which no two are about one record. It is judged in two steps, with what
is read from the database before each:

    merge_rows       the new values of each row's record, and what differs
    settling.settle  relations, unique values and places, in the order of the rows
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from records_service.attributes.unique_keys import UniqueKey
from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.bulk.finding import Basis, Sought, Target, matched_by, target_of
from records_service.bulk.model import BY_ID, BulkOutcome, Draft, OnMatch, OnMissing, Result, Row
from records_service.bulk.store import Key, Stored, external_key
from records_service.records import commands as single
from records_service.records import fixed_fields
from records_service.records.model import RecordChanges
from records_service.records.relations import sent_relations
from records_service.values.entries import Values
from records_service.writes.changes import (
    changed_unique_keys,
    differences,
    key_change,
    merged,
    unique_keys,
)
from records_service.writes.model import Record
from shared.errors import (
    ApiError,
    Conflict,
    NotFound,
    ValidationError,
)
from shared.frozen import quick
from shared.ids import new_id


@quick
class Candidate:
    """A row whose new values are known; `old` is None for a new record."""

    index: int
    schema: CompiledSchema
    old: Record | None
    id: str
    id_was_asked: bool
    state_id: str | None
    external_key: str | None
    values: Values
    relations: Values
    """The entries of relations that were sent."""
    changes: bytes
    """What differs, as JSON; empty if nothing does."""
    released: Sequence[UniqueKey]
    added: Sequence[UniqueKey]
    document: bytes = b""
    """The values of a new record as JSON. Written here, while they are in the processor's cache."""

    @property
    def claimed(self) -> Sequence[UniqueKey]:
        """The unique keys that must not be another record's, with the external key."""
        if self.external_key is None or self.external_key == self.known_key:
            return self.added
        return [*self.added, external_key(self.external_key)]

    @property
    def given_up(self) -> Sequence[UniqueKey]:
        """The unique keys that others may take, with the external key."""
        if self.known_key is None or self.external_key == self.known_key:
            return self.released
        return [*self.released, external_key(self.known_key)]

    @property
    def known_key(self) -> str | None:
        """The external key that the record has so far."""
        return None if self.old is None else self.old.external_key


def failed(index: int, error: ApiError, record_id: str | None = None) -> Result:
    """The result of a row that failed."""
    # The traceback names frames that name the results: thousands of such cycles would wait for the
    # garbage collector, which stops the event loop meanwhile.
    return Result(index, BulkOutcome.FAILED, record_id, error=error.with_traceback(None))


def merge_rows(rows: Sequence[Row], by: Sequence[Sought], basis: Basis) -> list[Candidate | Result]:
    """The new values of each row's record, or the result of a row that writes nothing.

    Ends before the first row that is about the same record as an earlier one: that row is judged by
    what will be stored then. So there may be fewer than there are rows, but at least one.

    Raises `StaleModel` or `StaleRecord` if what was read is outdated.
    """
    found: list[Candidate | Result] = []
    ids: set[str] = set()
    keys: set[Key] = set()
    free_keys: set[str] = set()
    for row, one in zip(rows, by, strict=True):
        asked = row.asked
        if not isinstance(asked, Draft):
            found.append(failed(row.index, asked))
            continue
        own = {key.key for key in one.keys}
        if not own.isdisjoint(keys):
            break
        keys |= own
        try:
            target = target_of(asked, one, basis)
            if target.id in ids:
                break
            if asked.external_key in free_keys:
                # One statement cannot hand it on: PostgreSQL looks at each row as it changes it.
                break
            if target.id is not None:
                ids.add(target.id)
            result = _merged(row.index, asked, target, basis)
            if isinstance(result, Candidate) and result.known_key is not None:
                free_keys.add(result.known_key)
            found.append(result)
        except ApiError as error:
            found.append(failed(row.index, error, asked.id))
    return found


def _merged(index: int, asked: Draft, target: Target, basis: Basis) -> Candidate | Result:
    options = basis.options
    if target.stored is None:
        if options.on_missing is OnMissing.FAIL or asked.must_exist:
            raise _missing(asked, basis)
        return _created(index, asked, basis)
    row = target.stored.row
    if options.on_match is OnMatch.FAIL:
        raise Conflict.taken("Entity", row["id"])
    if options.on_match is OnMatch.SKIP:
        return Result(index, BulkOutcome.SKIPPED, row["id"], row["version"])
    return _updated(index, asked, target.stored, basis)


def _missing(asked: Draft, basis: Basis) -> ApiError:
    if basis.options.match != BY_ID:
        return NotFound(f"No entity has this value of {matched_by(basis)}")
    if asked.id is None:
        return ValidationError.at("/id", "Field 'id' is required, because no record is created")
    return NotFound.of("Entity", asked.id)


def _created(index: int, asked: Draft, basis: Basis) -> Candidate:
    if asked.schema_id is None:
        raise ValidationError.at("/schemaId", "Field 'schemaId' is required for a new record")
    schema = basis.schemas.get(asked.schema_id)
    if schema is None:
        raise NotFound.of("Schema", asked.schema_id)
    state_id = single.first_state(schema)
    state = schema.state_of(state_id)
    if asked.lifecycle_state_id is not None:
        fixed_fields.check_state(basis.identity, asked.lifecycle_state_id, state_id, state)
    single.check_may_create(basis.role, schema, state_id)
    values = merged(
        {},
        asked.values,
        schema,
        basis.role,
        state,
        is_new=True,
        may_read=basis.identity.may_read,
        by_scope=asked.by_scope,
        options=basis.chosen,
    )
    return Candidate(
        index=index,
        schema=schema,
        old=None,
        id=asked.id or new_id("ent"),
        id_was_asked=asked.id is not None,
        state_id=state_id,
        external_key=asked.external_key,
        values=values,
        relations=sent_relations(schema, {}, values) if schema.relations else {},
        changes=orjson.dumps(
            differences({}, values, schema) + key_change(None, asked.external_key)
        ),
        released=(),
        added=unique_keys(schema, values),
        document=orjson.dumps(values),
    )


def _updated(index: int, asked: Draft, stored: Stored, basis: Basis) -> Candidate:
    old = record_of(stored)
    schema = basis.schemas.get(old.schema_id)
    if schema is None:
        raise NotFound.of("Schema", old.schema_id)
    state = schema.state_of(old.state_id)
    sent = _other_fields(asked)
    if sent is not None:
        fixed_fields.check_fixed_fields(basis.identity, old, schema, state, sent)
    values = merged(
        old.values,
        _without_key(asked, old, schema, basis),
        schema,
        basis.role,
        state,
        may_read=basis.identity.may_read,
        related=basis.related,
        by_scope=asked.by_scope,
        options=basis.chosen,
    )
    key = old.external_key
    if sent is not None:
        key = fixed_fields.key_after(basis.role, schema, old, state, sent)
    changes = differences(old.values, values, schema) + key_change(old.external_key, key)
    released, added = changed_unique_keys(schema, old.values, values) if changes else ([], [])
    return Candidate(
        index=index,
        schema=schema,
        old=old,
        id=old.id,
        id_was_asked=True,
        state_id=old.state_id,
        external_key=key,
        values=values,
        relations=sent_relations(schema, old.values, values) if schema.relations else {},
        changes=orjson.dumps(changes) if changes else b"",
        released=released,
        added=added,
    )


def _other_fields(asked: Draft) -> RecordChanges | None:
    """What is sent beside the values, None for nothing."""
    named_fields = {"schema_id"} if asked.schema_id is not None else set()
    if asked.names_state:
        named_fields.add("lifecycle_state_id")
    if asked.names_key:
        named_fields.add("external_key")
    if not named_fields:
        return None
    return RecordChanges.model_construct(
        _fields_set=named_fields,
        values={},
        schema_id=asked.schema_id,
        lifecycle_state_id=asked.lifecycle_state_id,
        external_key=asked.external_key,
    )


def _without_key(
    asked: Draft, old: Record, schema: CompiledSchema, basis: Basis
) -> Mapping[str, object]:
    """The values that are to be written.

    What names the record is none of them for a caller who may only read it: its value is that of
    the record, or the row would be about another one.
    """
    match = basis.match
    if match is None or match.id in schema.access(basis.role, old.state_id).writable:
        return asked.values
    return {
        name: sent
        for name, sent in asked.values.items()
        if schema.ids_by_name.get(name) != match.id
    }


def record_of(stored: Stored) -> Record:
    """The record as it is stored."""
    row = stored.row
    return Record(
        workspace_id=row["workspace_id"],
        id=row["id"],
        schema_id=row["schema_id"],
        state_id=row["state_id"],
        version=row["version"],
        values=orjson.loads(stored.document),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        created_by=row["created_by"],
        updated_by=row["updated_by"],
        external_key=row["external_key"],
    )
