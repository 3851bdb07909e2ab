"""A workspace with the demo catalogue takes the examples of the description, and answers so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.kit.demo import seed_demo
from tests.kit.described import OPERATIONS, Operation

# What is made by an example, and what an example changes after that: in this order, so that each
# finds what it is about. Then everything is read.
AFTER_ONE_ANOTHER = ("POST", "PUT", "PATCH", "GET")
BY_NAME = {operation.described["operationId"]: operation for operation in OPERATIONS}
LAST = ("transitionRecord", "deactivateApiKey")
NOT_SENT = {
    "logIn": "the demo's user is another workspace's",
    "refreshToken": "a token is no example",
    "readSnapshot": "it answers one object a line: the tests of the feed read it",
    "beginImport": "a form: tests/service/records/test_import_jobs.py sends many",
    "cancelImport": "the demo's import has ended by then",
    "resumeImport": "it has succeeded",
    **dict.fromkeys(
        (
            *("submitChangeSet", "approveChangeSet", "rejectChangeSet", "requestRevision"),
            *("approveOperation", "rejectOperation", "applyChangeSet"),
        ),
        "the demo's change set is a draft: tests/e2e/test_change_sets.py decides about others",
    ),
    **dict.fromkeys(
        ("redeliver", "replayWebhook"),
        "the demo's webhook is paused: tests/e2e/test_webhooks.py sends to others",
    ),
    **dict.fromkeys(
        ("testConnection", "syncChannel", "pushChannel", "pullChannel"),
        "the demo's channel has no target: tests/e2e/test_channels.py has one",
    ),
    "listTenants": "it is switched off where nobody switched it on",
}


def example_of_body(operation: Operation) -> Any:
    content = operation.described.get("requestBody", {}).get("content", {})
    return content["application/json"]["example"] if content else None


def success_of(operation: Operation) -> tuple[int, dict[str, Any]]:
    responses = operation.described["responses"]
    # A dry run of an import answers 200, the import 202.
    status = max(status for status in responses if status < "300")
    return int(status), responses[status]


def form(value: Any) -> Any:
    """The names of all fields and the types of all values, of lists those of what they hold."""
    if isinstance(value, Mapping):
        return {name: form(part) for name, part in value.items()}
    if isinstance(value, list):
        return form(value[0]) if value else []
    return "number" if type(value) in (int, float) else type(value).__name__


def reading_order(operation: Operation) -> tuple[int, int]:
    late = operation.described["operationId"] in LAST
    return AFTER_ONE_ANOTHER.index(operation.method) + 4 * late, len(operation.path)


@pytest.mark.slow
async def test_what_the_examples_send_is_taken_and_answered_as_they_say(stack):
    sigma = await stack.workspace()
    await seed_demo(sigma)
    tried = [
        operation
        for operation in sorted(
            (one for one in OPERATIONS if one.method != "DELETE"), key=reading_order
        )
        if operation.described["operationId"] not in NOT_SENT
    ]
    wrong: list[str] = []
    for operation in tried:
        answer = await operation.send(sigma.admin, example_of_body(operation))
        status, response = success_of(operation)
        if answer.status != status:
            wrong.append(f"{operation}: {answer.status} {answer.body}")
            continue
        declared = {*response.get("headers", {})} & {"ETag", "Location"}
        sent = {name for name in ("ETag", "Location") if name in answer.headers}
        if declared != sent:
            wrong.append(f"{operation}: headers {declared}, sent {sent}")
        example = response["content"]["application/json"]["example"]
        if operation.method != "GET" and form(answer.body) != form(example):
            wrong.append(f"{operation}:\n  {form(example)}\n  {form(answer.body)}")
        if operation.method == "GET" and not is_like(answer.body, example):
            wrong.append(f"{operation}:\n  {form(example)}\n  {form(answer.body)}")
    assert not wrong, "\n".join(wrong)


def is_like(answer: Any, example: Any) -> bool:
    """Whether objects have the fields of the example's; of lists, those with the same id."""
    if isinstance(example, list):
        return isinstance(answer, list) and all(
            is_like(found, each)
            for each in example[:1]
            for found in [one for one in answer if id_of(one) == id_of(each)][:1]
        )
    if isinstance(example, Mapping):
        return (
            isinstance(answer, Mapping)
            and set(answer) == set(example)
            and all(is_like(answer[name], part) for name, part in example.items())
        )
    return True


def id_of(value: Any) -> Any:
    return value.get("id") if isinstance(value, Mapping) else None
