"""Finds the record that each row is about: by its id, or by a unique attribute; knows no database.

A row that matches by an attribute names its record by each value that it sends for it. They may
all be new, or be held by one record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from records_service.attributes.model import Attribute
from records_service.attributes.unique_keys import UniqueKey, unique_keys_of
from records_service.blueprint.blueprint import Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, check_of
from records_service.bulk.model import BY_EXTERNAL_KEY, BY_ID, Draft, Options, Row
from records_service.bulk.store import Key, Stored, external_key
from records_service.option_lists.lookup import Options as ChosenOptions
from records_service.permissions.rules import Role
from records_service.values.relations import NOTHING_LOOKED_FOR, Related, named
from records_service.values.validation import EntriesCheck, Faults
from records_service.writes.changes import note_options
from records_service.writes.model import StaleRecord
from shared.errors import ApiError, Conflict, ValidationError, truncated
from shared.identity import Identity


@dataclass(frozen=True, slots=True)
class Basis:
    """What the rows of a wave are judged by, as far as it has been read."""

    identity: Identity
    role: Role | None
    options: Options
    blueprint: Blueprint
    match: Attribute | None
    """The unique attribute by which rows find their records, if it is one."""
    holders: Mapping[Key, str] = field(default_factory=dict)
    """Which record holds a unique key by which a row matches."""
    records: Mapping[str, Stored] = field(default_factory=dict)
    schemas: Mapping[str, CompiledSchema] = field(default_factory=dict)
    """Schema id -> its rules, of the schemas that exist."""
    related: Related = NOTHING_LOOKED_FOR
    """Which of the records exist that required relations name."""
    chosen: ChosenOptions = field(default_factory=ChosenOptions)
    """The options of large lists that rows name."""


@dataclass(frozen=True, slots=True)
class Sought:
    """The unique keys by which a row names its record, or why it has none."""

    keys: Sequence[UniqueKey] = ()
    error: ApiError | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The record that a row is about; `stored` is None if there is none yet.

    `id` is None for a new record whose id the server makes.
    """

    id: str | None
    stored: Stored | None = None


def matching_attribute(blueprint: Blueprint, options: Options) -> Attribute | None:
    """The attribute by which rows find their records, None for their ids and external keys.

    Raises `ValidationError` unless it exists and is unique, `Conflict` while it is becoming unique:
    not all records have reserved their values yet.
    """
    if options.match in (BY_ID, BY_EXTERNAL_KEY):
        return None
    for attribute in blueprint.attributes.values():
        if attribute.alias == options.match:
            if attribute.is_becoming_unique:
                raise Conflict(
                    f"Attribute '{truncated(attribute.alias)}' is becoming unique: records cannot"
                    " be found by it until all values have been compared"
                )
            if attribute.validation.unique:
                return attribute
            break
    raise ValidationError.at(
        "/match",
        "Field 'match' must be 'id', 'externalKey' or the alias of a unique attribute, got"
        f" '{truncated(options.match)}'",
    )


def sought(rows: Sequence[Row], basis: Basis) -> list[Sought]:
    """How each row names its record, where that is not by its id."""
    if basis.match is None:
        return [_by_external_key(row.asked) for row in rows]
    check = check_of(basis.blueprint, basis.match)
    return [
        _sought(row.asked, basis.match, check, basis.chosen)
        if isinstance(row.asked, Draft)
        else Sought()
        for row in rows
    ]


def _by_external_key(asked: Draft | ApiError) -> Sought:
    if not isinstance(asked, Draft):
        return Sought()
    if asked.external_key is not None:
        return Sought([external_key(asked.external_key)])
    return Sought(
        error=ValidationError.at(
            "/externalKey",
            "Field 'externalKey' is required in each row, because rows match by it",
        )
    )


def _sought(
    asked: Draft, attribute: Attribute, check: EntriesCheck, chosen: ChosenOptions
) -> Sought:
    name = attribute.alias if attribute.alias in asked.values else attribute.id
    sent = asked.values.get(name)
    faults = Faults(chosen)
    try:
        entries = [] if sent is None else check(sent, ("/values", name), faults)
        faults.check()
    except ValidationError as error:
        return Sought(error=error)
    keys = unique_keys_of(attribute, entries)
    if keys:
        return Sought(keys)
    alias = truncated(attribute.alias)
    return Sought(
        error=ValidationError.at(
            f"/values/{attribute.alias}",
            f"Attribute '{alias}' needs a value in each row, because rows match by it",
        )
    )


def ids_wanted(rows: Sequence[Row], keys: Sequence[Sought], basis: Basis) -> set[str]:
    """The records that must be read for these rows."""
    wanted = {
        row.asked.id for row in rows if isinstance(row.asked, Draft) and row.asked.id is not None
    }
    return wanted | {record_id for one in keys for record_id in _held(one, basis)}


def _held(by: Sought, basis: Basis) -> set[str]:
    """The records that hold these keys; a variant that holds one is no record."""
    held = {basis.holders[key.key] for key in by.keys if key.key in basis.holders}
    return {holder for holder in held if "/" not in holder}


def schemas_wanted(rows: Sequence[Row], records: Mapping[str, Stored]) -> set[str]:
    """The schemas by which these rows are judged."""
    sent = {
        row.asked.schema_id
        for row in rows
        if isinstance(row.asked, Draft) and row.asked.schema_id is not None
    }
    return sent | {stored.row["schema_id"] for stored in records.values()}


def note_chosen(rows: Sequence[Row], basis: Basis) -> None:
    """Note which options of large lists these rows name."""
    for row in rows:
        if not isinstance(row.asked, Draft):
            continue
        stored = basis.records.get(row.asked.id or "")
        schema_id = row.asked.schema_id if stored is None else stored.row["schema_id"]
        for schema in (
            basis.schemas.values() if schema_id is None else [basis.schemas.get(schema_id)]
        ):
            if schema is not None:
                note_options(schema, row.asked.values, basis.chosen)


def named_by_required(basis: Basis) -> set[str]:
    """The records that required relations of the stored records name: they cannot be emptied."""
    found: set[str] = set()
    for stored in basis.records.values():
        schema = basis.schemas.get(stored.row["schema_id"])
        if schema is not None and schema.required_relations:
            values = orjson.loads(stored.document)
            required = {i: values[i] for i in schema.required_relations if i in values}
            found |= named(required, schema.relations)
    return found


def target_of(asked: Draft, by: Sought, basis: Basis) -> Target:
    """The record that a row is about.

    Raises `ValidationError` or `Conflict` for a row that names none, or two; `StaleRecord` if what
    was read is of two moments.
    """
    if basis.options.match == BY_ID:
        return Target(asked.id, basis.records.get(asked.id) if asked.id is not None else None)
    if by.error is not None:
        raise by.error
    held = _held(by, basis)
    if len(held) > 1:
        raise Conflict(f"The values of {matched_by(basis)} are those of {len(held)} records")
    for record_id in held:
        stored = basis.records.get(record_id)
        if stored is None:
            raise StaleRecord
        if basis.match is not None and not _is_visible(stored, basis.match, basis):
            # As if nobody had it: who does not see the attribute learns nothing of its values.
            break
        if asked.id not in (None, record_id):
            raise ValidationError.at(
                "/id",
                f"Field 'id' is not that of the record with this value of {matched_by(basis)},"
                f" got '{truncated(asked.id)}'",
            )
        return Target(record_id, stored)
    if asked.id is not None and asked.id in basis.records:
        raise Conflict.taken("Entity", asked.id)
    return Target(asked.id)


def matched_by(basis: Basis) -> str:
    """What rows match by, in a message."""
    if basis.match is None:
        return "'externalKey'"
    return f"attribute '{truncated(basis.match.alias)}'"


def _is_visible(stored: Stored, attribute: Attribute, basis: Basis) -> bool:
    schema = basis.schemas.get(stored.row["schema_id"])
    return (
        schema is not None
        and attribute.id in schema.access(basis.role, stored.row["state_id"]).visible
    )
