"""Checks the operations that are sent, and completes them with what records_service knows.

An attribute is kept by its id, a scope by the ids of its segments, so that renaming either costs
nothing; and beside each proposed value stands the one that it is based on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.database import to_json
from shared.errors import PayloadTooLarge, ValidationError, Violation, truncated
from shared.http.messages import shown
from shared.ids import new_id
from workflow_service.clients import Clients
from workflow_service.proposals.model import (
    BYTES_MAX,
    Decision,
    Operation,
    OperationDraft,
    StoredChange,
)
from workflow_service.proposals.standing import Standing, creates_record

Inspected = Mapping[str, Any]
"""What records_service says of one operation: `exists`, `schemaId`, and its `changes`."""


async def completed(clients: Clients, drafts: Sequence[OperationDraft]) -> list[Operation]:
    """The operations as they are kept.

    Raises `ValidationError`, `NotFound`, or `PermissionDenied` for an attribute that is hidden.
    """
    ValidationError.check(_faults(drafts))
    asked = _all_asked(drafts)
    standing = Standing()
    operations: list[Operation] = []
    size = 0
    while len(operations) < len(drafts):
        start = len(operations)
        inspected = await clients.inspect(
            "propose", asked[start:], with_values=True, is_whole=False
        )
        for place, found in enumerate(inspected, start):
            one = _operation(place, drafts[place], asked[place], found, standing)
            standing.add(one, one.changes)
            size += len(to_json([change.document() for change in one.changes]))
            operations.append(one)
        if size > BYTES_MAX:
            raise PayloadTooLarge(
                f"The operations and the values that they are based on exceed {BYTES_MAX} bytes"
            )
    ValidationError.check(_repetitions(operations))
    return operations


def _faults(drafts: Sequence[OperationDraft]) -> Iterator[Violation]:
    """What is wrong with the operations themselves."""
    seen: set[str] = set()
    for place, draft in enumerate(drafts):
        where = f"/operations/{place}"
        if draft.id is not None and draft.id in seen:
            yield Violation(
                f"{where}/id", f"Operation '{truncated(draft.id)}' is named twice in 'operations'"
            )
        seen.add(draft.id or "")
        is_new_record = creates_record(draft)
        if is_new_record and draft.schema_id is None:
            yield Violation(
                f"{where}/schemaId", "Field 'schemaId' is required for a record to create"
            )
        if not is_new_record and draft.entity_id is None:
            yield Violation(f"{where}/entityId", "Field 'entityId' is required for this operation")
        if draft.type != "create" and draft.parent_id is not None:
            yield Violation(
                f"{where}/parentId",
                "Field 'parentId' is only for variants to create: expected type 'create', got"
                f" {shown(draft.type)}",
            )
        if draft.type == "delete" and draft.changes:
            yield Violation(
                f"{where}/changes",
                f"Field 'changes' of a deletion must be empty, got {len(draft.changes)}",
            )
        if draft.type == "update" and not draft.changes:
            yield Violation(
                f"{where}/changes", "Field 'changes' of an update expects at least one change"
            )


def _all_asked(drafts: Sequence[OperationDraft]) -> list[dict[str, Any]]:
    """The operations as records_service is asked about them.

    Raises `NotFound` for one on what an earlier one deletes.
    """
    standing = Standing()
    asked = []
    for place, draft in enumerate(drafts):
        operation_id = draft.id or new_id("op")
        standing.check_there(place, operation_id, draft)
        asked.append(
            {
                "id": operation_id,
                "type": draft.type,
                "schemaId": draft.schema_id if creates_record(draft) else standing.schema_id(draft),
                "entityId": draft.entity_id,
                "variantId": draft.variant_id,
                "parentId": draft.parent_id,
                "changes": [
                    {"attribute": one.attribute, "scope": one.scope} for one in draft.changes
                ],
                "made": standing.made(draft),
            }
        )
        standing.add(draft)
    return asked


def _operation(
    place: int,
    draft: OperationDraft,
    asked: Mapping[str, Any],
    found: Inspected,
    before: Standing,
) -> Operation:
    changes = []
    for sent, known in zip(draft.changes, found["changes"], strict=True):
        old_value = sent.old_value
        if "old_value" not in sent.model_fields_set:
            old_value = before.value(draft, known["attributeId"], known["scope"], known["value"])
        changes.append(
            StoredChange(
                known["attributeId"],
                known["attribute"],
                known["scope"],
                None if draft.type == "create" else old_value,
                sent.new_value,
                sent.confidence,
                sent.reasoning,
            )
        )
    return Operation(
        id=asked["id"],
        place=place,
        type=draft.type,
        status="pending",
        schema_id=found["schemaId"],
        entity_id=draft.entity_id,
        variant_id=draft.variant_id,
        parent_id=draft.parent_id,
        changes=changes,
        made=asked["made"],
    )


def _repetitions(operations: Sequence[Operation]) -> Iterator[Violation]:
    """Values that an operation proposes twice, whatever they were called."""
    for operation in operations:
        seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
        for place, change in enumerate(operation.changes):
            key = change.attribute_id, tuple(sorted(change.scope.items()))
            if key in seen:
                yield Violation(
                    f"/operations/{operation.place}/changes/{place}",
                    f"Operation '{truncated(operation.id)}' changes attribute"
                    f" '{truncated(change.attribute)}' twice in the same scope",
                )
            seen.add(key)


async def with_values_of_now(
    clients: Clients, operations: Sequence[Operation], before: Sequence[Operation] = ()
) -> list[dict[str, Any]]:
    """The operations as the caller may see them, with the values of now (`OperationAnswer`).

    The value of now is the one that the operation would find: `before` are those on the same
    records that come before the last of these, of which the ones that are to be applied count.
    At least the first operation, and as many as have values that fit into one answer.
    """
    if not operations:
        return []
    asked = [one.about() for one in operations]
    inspected = await clients.inspect("read", asked, with_values=True, is_whole=False)
    found = {one.id: each for one, each in zip(operations, inspected, strict=False)}
    standing = Standing()
    answers = []
    for one in sorted({one.place: one for one in (*before, *operations)}.values(), key=_place):
        if one.id in found:
            answers.append(_with_values_of_now(one, found[one.id], standing))
        if one.status in (Decision.PENDING, Decision.APPROVED):
            standing.add(one, one.changes)
    return answers


def _place(operation: Operation) -> int:
    return operation.place


def _with_values_of_now(operation: Operation, found: Inspected, before: Standing) -> dict[str, Any]:
    return {
        "id": operation.id,
        "type": operation.type,
        "status": operation.status,
        "schemaId": operation.schema_id,
        "entityId": operation.entity_id,
        "variantId": operation.variant_id,
        "parentId": operation.parent_id,
        "changes": [
            {
                "attribute": known["attribute"] or change.attribute,
                "scope": known["scope"],
                "oldValue": change.old_value,
                "newValue": change.new_value,
                "currentValue": _value_of_now(operation, change, known["value"], before),
                "confidence": change.confidence,
                "reasoning": change.reasoning,
                "rating": operation.ratings.get(change.attribute_id),
            }
            for change, known in zip(operation.changes, found["changes"], strict=True)
            if known is not None
        ],
    }


def _value_of_now(operation: Operation, change: StoredChange, now: Any, before: Standing) -> Any:
    if operation.about()["made"] == "record" and before.made(operation) != "record":
        # The creation was rejected. What those before it do to the record that is there now is
        # hidden by the state of that one, which this operation was not judged by.
        return None
    return before.value(operation, change.attribute_id, change.scope, now)


async def visible_attributes(
    clients: Clients, operations: Sequence[Operation]
) -> dict[str, dict[str, str]]:
    """Operation id -> the attributes of its changes that the caller may see, id -> alias."""
    inspected = await clients.inspect("read", [one.about() for one in operations])
    return {
        operation.id: {
            change.attribute_id: known["attribute"] or change.attribute
            for change, known in zip(operation.changes, found["changes"], strict=True)
            if known is not None
        }
        for operation, found in zip(operations, inspected, strict=True)
    }
