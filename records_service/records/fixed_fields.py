"""The fields of a record beside its values: what a write may say of them."""

from __future__ import annotations

from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.permissions.rules import Role
from records_service.records.model import RecordChanges
from records_service.workflow_copies.model import State
from records_service.writes.model import Record
from shared.errors import PermissionDenied, ValidationError, Violation, truncated
from shared.http.messages import shown
from shared.identity import Identity


def check_fixed_fields(
    identity: Identity,
    record: Record,
    schema: CompiledSchema,
    state: State | None,
    changes: RecordChanges,
) -> None:
    """Raise `ValidationError` for another schema or state than those of the record.

    A caller who may not read cannot send them at all: accepted if right and refused if wrong, they
    could be guessed.
    """
    if not identity.may_read:
        ValidationError.check(
            Violation(f"/{field}", f"Field '{field}' may be sent only by callers who may read")
            for name, field in (
                ("schema_id", "schemaId"),
                ("lifecycle_state_id", "lifecycleStateId"),
            )
            if name in changes.model_fields_set
        )
    if changes.schema_id not in (None, record.schema_id, schema.definition.alias):
        raise ValidationError.at(
            "/schemaId",
            f"Field 'schemaId' cannot change: expected '{truncated(record.schema_id)}',"
            f" got '{truncated(changes.schema_id)}'",
        )
    if "lifecycle_state_id" in changes.model_fields_set:
        check_state(identity, changes.lifecycle_state_id, record.state_id, state)


def key_after(
    role: Role | None,
    schema: CompiledSchema,
    record: Record,
    state: State | None,
    changes: RecordChanges,
) -> str | None:
    """The external key of a record after this write.

    Whoever may write some attribute of the record may change it; else `PermissionDenied`.
    """
    known = record.external_key
    if "external_key" not in changes.model_fields_set or changes.external_key == known:
        return known
    if not schema.writable_in(role, state):
        raise PermissionDenied.because(
            "To change 'externalKey', the role needs the permission 'write' on an attribute of the"
            " schema that the state of the record does not make read-only"
        )
    return changes.external_key


def check_state(
    identity: Identity, named: str | None, state_id: str | None, state: State | None
) -> None:
    """Raise `ValidationError` if a write names a state other than the record's current one.

    A client that sends the whole record back includes the state that it read, by id or label.
    """
    if named == state_id or (state is not None and named == state.label):
        return
    raise ValidationError.at(
        "/lifecycleStateId",
        "Field 'lifecycleStateId' changes only through a transition:"
        f"{_expected(identity, state_id)} got {shown(named)}",
    )


def _expected(identity: Identity, value: str | None) -> str:
    """What a message says about a stored value: nothing to callers who may not read."""
    if not identity.may_read:
        return ""
    return f" expected {shown(value) if value else 'null, because the schema has no workflow'},"
