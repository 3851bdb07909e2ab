"""Marks which attributes and segments have values, before a write stores the first of them.

A process knows which marks are set, for each schema at one version of the model. So nearly all
writes only compare names. A mark is removed together with a new version: who took it for granted is
refused by that, begins again, and knows nothing (docs/adr/0075).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.model_objects.search_store import ValueTable
from records_service.value_uses import store
from records_service.value_uses.model import Use
from records_service.values.entries import Values
from shared.database import REQUEST_TRANSACTION, Conn, Database

_Known: TypeAlias = dict[str, set[tuple[str, str]]]
"""Attribute -> the pairs of dimension and segment; all of them are marked."""
_OF_TABLE: Final[Mapping[ValueTable, str]] = {
    "records": "uses_of_records",
    "variants": "uses_of_variants",
}
_SCOPED: Final = "attributes_with_scopes"


class Unmarked:
    """What is about to be stored and, as far as this process knows, has no mark."""

    def __init__(self) -> None:
        self.holders: dict[Use, str] = {}
        """Each use with a record or variant that will have it."""
        self._known: dict[int, tuple[_Known, set[Use]]] = {}
        self._noted: dict[int, _Known] = {}
        """What has been added, in the form of what is known: of a thousand records of a bulk call
        that have what no record had before, the first ones say it all."""

    def add(
        self, schema: CompiledSchema, table: ValueTable, holder_id: str, values: Values
    ) -> None:
        """Add what the values of a record or variant need."""
        known: _Known = schema.derived.setdefault(_OF_TABLE[table], {})
        scoped = _scoped(schema)
        noted = self._noted.setdefault(id(known), {})
        if _are_known(scoped, known, values) or _are_known(scoped, noted, values):
            return
        _, uses = self._known.setdefault(id(known), (known, set()))
        for attribute_id, entries in values.items():
            found = {Use(table, attribute_id)}
            pairs = noted.setdefault(attribute_id, set())
            for entry in entries:
                pairs.update(entry["scope"].items())
                found.update(Use(table, attribute_id, *pair) for pair in entry["scope"].items())
            for use in found - uses:
                uses.add(use)
                self.holders.setdefault(use, holder_id)

    def learn(self) -> None:
        """From now on, the process knows that all of this is marked."""
        for known, uses in self._known.values():
            for use in uses:
                pairs = known.setdefault(use.attribute_id, set())
                if use.dimension_id:
                    pairs.add((use.dimension_id, use.segment_id))


def unmarked(schema: CompiledSchema, table: ValueTable, holder_id: str, values: Values) -> Unmarked:
    """What the values of one record or variant need."""
    found = Unmarked()
    found.add(schema, table, holder_id, values)
    return found


async def mark(
    database: Database, workspace_id: str, missing: Unmarked, conn: Conn | None = None
) -> None:
    """Set these marks, in the transaction of `conn` or of the request if there is one.

    What such a transaction finds may be its own and yet be rolled back, so the process does not
    rely on it.
    """
    if not missing.holders:
        return
    if conn is not None:
        await store.keep(conn, workspace_id, missing.holders)
        return
    bound = REQUEST_TRANSACTION.get()
    async with database.acquire() as own:
        await store.keep(own, workspace_id, missing.holders)
    if bound is None:
        missing.learn()


def _are_known(scoped: Sequence[str], known: _Known, values: Values) -> bool:
    """Whether all is marked, as far as the process knows: nearly always."""
    if not values.keys() <= known.keys():
        return False
    for attribute_id in scoped:
        entries = values.get(attribute_id)
        if entries:
            pairs = known[attribute_id]
            for entry in entries:
                if not entry["scope"].items() <= pairs:
                    return False
    return True


def _scoped(schema: CompiledSchema) -> tuple[str, ...]:
    """The attributes whose values differ by scope."""
    found: tuple[str, ...] | None = schema.derived.get(_SCOPED)
    if found is None:
        found = tuple(each.id for each in schema.attributes.values() if each.dimension_ids)
        schema.derived[_SCOPED] = found
    return found
