"""The steps in which the operations of a change set are written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from records_service.attributes.model import Validation
from records_service.attributes.unique_keys import unique_keys_of
from records_service.proposals import scheduling
from records_service.proposals.model import Operation
from records_service.proposals.scheduling import Rules, steps_of
from tests.unit.records.model_builders import an_attribute

SKU = an_attribute("attr-sku", validation=Validation(unique=True))
RULES = Rules(unique={"attr-sku": SKU, "sku": SKU}, required={"attr-need", "need"})


def do(kind: str, record: str, variant: str | None = None, /, **values: Any) -> Operation:
    """An operation; a value of two is an old and a new one."""
    changes = [
        {"attribute": name, "oldValue": value[0], "newValue": value[1]}
        if isinstance(value, tuple)
        else {"attribute": name, "newValue": value}
        for name, value in values.items()
    ]
    about = {"entityId": record, "variantId": variant, "changes": changes}
    return Operation.model_validate({"id": "op", "type": kind, **about})


def shape(*operations: Operation, rules: Rules = RULES) -> list[dict[str, list[list[int]]]]:
    """For each step: kind -> the places of the operations in each row."""
    return [
        {
            kind.name.lower(): [[place for place, _ in row.operations] for row in rows]
            for kind, rows in step.items()
        }
        for step in steps_of(operations, rules)
    ]


def test_operations_on_different_records_are_one_step_whatever_their_order():
    operations = []
    for number in range(2_500):
        operations += [
            do("create", f"new-{number}", sku=f"N-{number}"),
            do("update", f"ent-{number}", price=number),
            do("update", f"of-{number}", "var-1", price=number),
            do("delete", f"old-{number}"),
        ]
    (step,) = steps_of(operations, RULES)
    assert [len(rows) for rows in step.values()] == [2_500] * 4


def test_updates_of_different_values_are_one_row():
    operations = [
        do("update", "ent-1", price=1),
        do("update", "ent-2", price=1),
        do("update", "ent-1", name="x"),
        do("update", "ent-1", price=2),
        do("update", "ent-1", size=3),
    ]
    assert shape(*operations) == [{"update": [[0, 2], [1]]}, {"update": [[3, 4]]}]


def test_a_removal_is_judged_with_all_values_of_its_attribute():
    operations = [do("update", "ent-1", need=None), do("update", "ent-1", need="x")]
    assert shape(*operations) == [{"update": [[0]]}, {"update": [[1]]}]


def test_what_becomes_of_one_record_is_one_step_until_it_begins_anew():
    operations = [
        do("create", "ent-1"),
        do("update", "ent-1", price=1),
        do("create", "ent-1", "var-1"),
        do("update", "ent-1", "var-1", price=2),
        do("delete", "ent-1", "var-1"),
        do("delete", "ent-1"),
        do("create", "ent-1"),
        do("create", "ent-1", "var-1"),
    ]
    first, second = shape(*operations)
    assert sum(len(rows) for rows in first.values()) == 6
    assert second == {"create": [[6]], "create_variant": [[7]]}


@pytest.mark.parametrize(
    "operations",
    [
        [do("delete", "ent-1"), do("create", "ent-2", sku="S-1")],
        [do("update", "ent-1", sku=("S-1", "x")), do("create", "ent-2", sku="S-1")],
        [do("update", "ent-1", "var-1", sku=("S-1", "x")), do("update", "ent-2", sku="S-1")],
        [do("delete", "ent-1"), do("update", "ent-2", kin="ent-1")],
        [do("update", "ent-2", kin={"of": ["ent-1"]}), do("create", "ent-1")],
        [do("delete", "ent-1", "var-1"), do("update", "ent-1", "var-2", price=1)],
        [do("update", "ent-1", "var-1", need="x"), do("update", "ent-1", "var-2", need=None)],
        [do("update", "ent-1", "var-1", need=None), do("update", "ent-1", need="x")],
    ],
)
def test_an_operation_comes_behind_those_that_it_depends_on(operations: list[Operation]):
    (key,) = unique_keys_of(SKU, [{"scope": {}, "value": "S-1"}])
    rules = Rules(RULES.unique, {"ent-1": [(SKU.id, key.value_hash)]}, RULES.required)
    first, second = steps_of(operations, rules)
    assert [row.operations[0].place for rows in first.values() for row in rows] == [0]
    assert [row.operations[0].place for rows in second.values() for row in rows] == [1]


def test_values_are_handed_on_in_the_order_of_the_operations():
    """One statement hands them on, as long as no row is written before its turn."""
    operations = [do("update", f"ent-{n}", sku=(f"S-{n}", f"S-{n - 1}")) for n in range(1, 6)]
    assert shape(*operations) == [{"update": [[n] for n in range(5)]}]
    late = do("update", "ent-1", sku=("S-0", "S-5"))
    assert shape(*operations, late)[1] == {"update": [[5]]}


def test_creations_and_deletions_can_be_kept_apart():
    operations = [do("delete", "ent-1"), do("create", "ent-2"), do("delete", "ent-3")]
    assert len(shape(*operations)) == 1
    assert shape(*operations, rules=Rules(apart=True)) == [
        {"delete": [[0]]},
        {"create": [[1]], "delete": [[2]]},
    ]


@pytest.mark.parametrize("kind", ["create", "update", "delete"])
def test_variants_of_one_record_cost_the_same_each(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Hashes of values are looked up a few times for each operation, however many there are."""
    looked_up = 0

    class Counted(bytes):
        def __hash__(self) -> int:
            nonlocal looked_up
            looked_up += 1
            return super().__hash__()

    def counted(attribute: Any, entries: Any) -> Any:
        keys = unique_keys_of(attribute, entries)
        return [replace(key, value_hash=Counted(key.value_hash)) for key in keys]

    monkeypatch.setattr(scheduling, "unique_keys_of", counted)
    count = 500
    held = [
        (SKU.id, key.value_hash)
        for n in range(count)
        for key in counted(SKU, [{"scope": {}, "value": f"O-{n}"}])
    ]
    operations = []
    for n in range(count):
        operation = do(kind, "ent-1", f"var-{n}")
        if kind == "create":
            operation = do(kind, "ent-1", f"var-{n}", sku=f"N-{n}")
        elif kind == "update":
            operation = do(kind, "ent-1", f"var-{n}", sku=(f"O-{n}", f"N-{n}"))
        operations.append(operation)
    (step,) = steps_of(operations, Rules(RULES.unique, {"ent-1": held}, RULES.required))
    assert [len(rows) for rows in step.values()] == [count]
    assert looked_up < 50 * count
