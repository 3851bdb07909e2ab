"""What an integrator writes on top of the Python client that openapi-python-client generates.

    python python_client.py <url> <e-mail address> <password>

Run and type-checked strictly by tests/contract/test_generated_clients.py, in a workspace that holds
the demo catalogue.
"""

from __future__ import annotations

import json
import sys
from http import HTTPStatus

from sigma_pim_client import AuthenticatedClient, Client
from sigma_pim_client.api.api_keys import create_api_key
from sigma_pim_client.api.authentication import log_in
from sigma_pim_client.api.records import (
    create_record,
    get_completeness,
    list_transitions,
    transition_record,
    update_record,
)
from sigma_pim_client.api.roles import get_role, replace_role
from sigma_pim_client.models import (
    ApiError,
    ApiKeyDraft,
    ApiKeyPermission,
    AttributePermission,
    AttributePermissions,
    BlockingCode,
    Completeness,
    ErrorCode,
    LoginRequest,
    NewApiKey,
    Record,
    RecordChanges,
    RecordDraft,
    RecordValuesDraft,
    Role,
    RoleDraft,
    Scope,
    Session,
    TransitionRequest,
    ValueEntry,
)
from sigma_pim_client.types import Response


def scope(**segments: str) -> Scope:
    found = Scope()
    for dimension, segment in segments.items():
        found[f"dim-{dimension}"] = f"seg-{segment}"
    return found


def values(**entries: list[ValueEntry]) -> RecordValuesDraft:
    draft = RecordValuesDraft()
    for alias, entry in entries.items():
        draft[alias.replace("_", "-")] = entry
    return draft


def refused(response: Response[ApiError | Record], status: HTTPStatus, code: ErrorCode) -> str:
    assert response.status_code == status, response
    assert isinstance(response.parsed, ApiError)
    assert response.parsed.error is code
    return response.parsed.message


def logged_in(url: str, email: str, password: str) -> AuthenticatedClient:
    client = Client(base_url=url)
    wrong = log_in.sync(client=client, body=LoginRequest(email=email, password="wrong"))
    assert isinstance(wrong, ApiError)
    assert wrong.error is ErrorCode.UNAUTHORIZED
    session = log_in.sync(client=client, body=LoginRequest(email=email, password=password))
    assert isinstance(session, Session)
    assert session.user.email == email
    return AuthenticatedClient(base_url=url, token=session.token)


def write_records(client: AuthenticatedClient) -> Record:
    draft = RecordDraft(
        id="ent-generated",
        schema_id="schema-apparel",
        values=values(
            product_name=[
                ValueEntry(scope=scope(language="en"), value="Generated Jacket"),
                ValueEntry(scope=scope(language="da"), value="Genereret jakke"),
            ],
            sku=[ValueEntry(value="GJ-901")],
            price=[ValueEntry(scope=scope(market="dk"), value=899)],
        ),
    )
    created = create_record.sync_detailed(client=client, body=draft)
    assert created.status_code == HTTPStatus.CREATED, created
    version = created.headers["ETag"]
    assert created.headers["Location"] == "/api/v1/records/ent-generated"

    again = create_record.sync_detailed(client=client, body=draft)
    assert "already exists" in refused(again, HTTPStatus.CONFLICT, ErrorCode.CONFLICT)
    invalid = RecordDraft(
        schema_id="schema-apparel", values=values(price=[ValueEntry(value="cheap")])
    )
    message = refused(
        create_record.sync_detailed(client=client, body=invalid),
        HTTPStatus.BAD_REQUEST,
        ErrorCode.VALIDATION_ERROR,
    )
    assert "'price'" in message

    changes = RecordChanges(values=values(description=[ValueEntry(value="Made by a program")]))
    stale = update_record.sync_detailed(
        "ent-generated", client=client, body=changes, if_match='"99"'
    )
    refused(stale, HTTPStatus.PRECONDITION_FAILED, ErrorCode.PRECONDITION_FAILED)
    changed = update_record.sync_detailed(
        "ent-generated", client=client, body=changes, if_match=version
    )
    assert isinstance(changed.parsed, Record)
    assert changed.parsed.values["description"][0].value == "Made by a program"
    cleared = RecordValuesDraft()
    cleared["description"] = None
    changed = update_record.sync_detailed(
        "ent-generated", client=client, body=RecordChanges(values=cleared)
    )
    assert isinstance(changed.parsed, Record)
    assert "description" not in changed.parsed.values
    return changed.parsed


def write_without_reading(client: AuthenticatedClient, url: str) -> None:
    """A key without `read` is answered the id only: no `Record`, so the raw answer is read."""
    draft = ApiKeyDraft(name="Stock levels", permissions=[ApiKeyPermission.UPDATE_DATA])
    key = create_api_key.sync(client=client, body=draft)
    assert isinstance(key, NewApiKey)
    writer = Client(base_url=url, headers={"X-Sigma-ApiKey": key.key})
    changes = RecordChanges(values=values(description=[ValueEntry(value="Written unread")]))
    answer = writer.get_httpx_client().put("/api/v1/records/ent-generated", json=changes.to_dict())
    assert answer.status_code == HTTPStatus.OK, answer.text
    assert answer.json() == {"id": "ent-generated"}
    assert answer.headers["ETag"]


def write_a_role_back(client: AuthenticatedClient) -> None:
    before = get_role.sync("role-editor", client=client)
    assert isinstance(before, Role)
    permissions = before.schema_permissions[0].attribute_permissions
    assert isinstance(permissions, AttributePermissions)
    assert permissions["attr-price"] is AttributePermission.READ
    after = replace_role.sync(
        "role-editor", client=client, body=RoleDraft.from_dict(before.to_dict())
    )
    assert isinstance(after, Role)
    assert after.schema_permissions == before.schema_permissions
    assert get_role.sync("role-editor", client=client) == after


def walk_the_lifecycle(client: AuthenticatedClient, record: Record) -> None:
    transitions = list_transitions.sync(record.id, client=client)
    assert isinstance(transitions, list)
    (hand_over,) = transitions
    assert not hand_over.allowed
    (reason,) = hand_over.reasons
    assert reason.code is BlockingCode.COMPLETENESS
    assert isinstance(reason.missing, list)
    assert "material" in reason.missing
    complete = RecordChanges(
        values=values(
            description=[ValueEntry(scope=scope(language="en"), value="A jacket")],
            material=[ValueEntry(scope=scope(language="en"), value="Wool")],
            category=[ValueEntry(value="val-jackets")],
            color=[ValueEntry(value=["val-navy"])],
        )
    )
    assert isinstance(update_record.sync(record.id, client=client, body=complete), Record)
    found = get_completeness.sync(
        record.id,
        client=client,
        state_id="state-review",
        scope=json.dumps({"dim-language": "seg-en"}),
    )
    assert isinstance(found, Completeness)
    assert (found.score, found.missing) == (100, [])
    moved = transition_record.sync(
        record.id, client=client, body=TransitionRequest(to_state_id="state-review")
    )
    assert isinstance(moved, Record)
    assert moved.lifecycle_state_id == "state-review"


def main() -> None:
    url, email, password = sys.argv[1:]
    client = logged_in(url, email, password)
    record = write_records(client)
    write_without_reading(client, url)
    write_a_role_back(client)
    walk_the_lifecycle(client, record)
    print("everything was as expected")  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
