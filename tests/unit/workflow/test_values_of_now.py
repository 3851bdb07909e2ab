"""The value that an operation of a change set would find, as it is shown."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

from workflow_service.clients import Clients
from workflow_service.proposals import store
from workflow_service.proposals.completing import with_values_of_now
from workflow_service.proposals.model import Decision, Operation, StoredChange

PRICE = {"attribute": "price", "attributeId": "attr-price", "scope": {}, "value": None}


class Records:
    """records_service, to a caller who may see the attribute."""

    async def inspect(self, _: str, asked: Sequence[Mapping[str, Any]], **__: Any) -> Any:
        return [{"id": one["id"], "schemaId": "s", "changes": [PRICE]} for one in asked]


def operation(place: int, type_: str, price: int | None = None, **more: Any) -> Operation:
    changes = [] if price is None else [change(price)]
    fields = {"schema_id": "s", "entity_id": "ent-1", "variant_id": None, "parent_id": None}
    known = {"status": Decision.PENDING, "made": None, **fields, **more}
    return Operation(id=f"op-{place}", place=place, type=type_, changes=changes, **known)


def change(price: int) -> StoredChange:
    return StoredChange("attr-price", "price", {}, None, price, None, None)


async def shown(one: Operation, *before: Operation) -> Any:
    (answer,) = await with_values_of_now(cast(Clients, Records()), [one], before)
    return answer["changes"][0]["currentValue"]


async def test_an_update_finds_what_the_creation_before_it_leaves():
    made = operation(2, "update", 3, made="record")
    assert await shown(made, operation(1, "create", 2)) == 2


async def test_an_update_of_what_is_not_created_shows_nothing_of_the_record_that_is_there():
    """Of that the price may be hidden, by its state: the creation and a deletion were rejected."""
    made = operation(4, "update", 3, made="record")
    assert await shown(made, operation(1, "update", 99)) is None


async def test_the_operations_before_are_parsed_beside_the_event_loop():
    threads = set()

    class Row(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            threads.add(threading.current_thread())
            return super().__getitem__(name)

    class Connection:
        async def fetch(self, *_: Any) -> list[Row]:
            one = operation(1, "update", 2)
            fields = {name: getattr(one, name) for name in Operation.__dataclass_fields__}
            return [Row(fields | {"changes": [change(2).document()]})]

    found = await store.before(cast(Any, Connection()), "ws", "cs", [operation(2, "update", 3)])
    assert found == [operation(1, "update", 2)]
    assert threads
    assert threading.current_thread() not in threads
