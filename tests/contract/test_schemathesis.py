"""Schemathesis tries every endpoint over the whole system, with data made from the description.

What it is told stands in schemathesis.toml beside this file. Longer, and by hand, with the API key
and the address of the description of a running system:

    SIGMA_TEST_API_KEY=sigma_sk_live_... st --config-file tests/contract/schemathesis.toml \\
        run http://127.0.0.1:8080/docs/openapi.json --exclude-tag "API keys" --max-examples 100
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.description import OPENAPI_FILE
from tests.kit.demo import seed_demo

CONFIG = Path(__file__).with_name("schemathesis.toml")
OF_PEOPLE = ("API keys", "Roles", "Change sets")
"""What is tried as a person, too, because keys are refused some of it."""


def described() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each endpoint."""
    for path, methods in orjson.loads(OPENAPI_FILE.read_bytes())["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def is_for_people(operation: dict[str, Any]) -> bool:
    """Whether no key is good enough."""
    return operation["security"] == [{"bearer": []}]


NOBODY, EVENTS = "http://127.0.0.1:9/", ["entity.deleted"]


async def things_to_delete(sigma):
    """One of each, in use nowhere."""
    await sigma.dimension("spare", ["one", "two"])
    await sigma.option_list("spare", ["one", "two"])
    await sigma.attribute("spare")
    await sigma.workflow("spare")
    await sigma.schema("spare", ["spare"])
    await sigma.role("role-spare")
    for path, body in (
        ("/catalogs", {"id": "cat-spare", "alias": "spare", "name": "Spare"}),
        ("/catalogs/cat-spare/categories", {"id": "ctg-spare", "alias": "spare", "name": "Spare"}),
        ("/saved-queries", {"id": "sq-spare", "name": "Spare"}),
        ("/webhooks", {"id": "wh-spare", "name": "Spare", "url": NOBODY, "events": EVENTS}),
    ):
        (await sigma.admin.post(path, body)).ok()


@pytest.mark.slow
async def test_the_system_is_as_it_is_described(stack, tmp_path):
    sigma = await stack.workspace(record_limit=100_000)
    await seed_demo(sigma)
    await things_to_delete(sigma)
    key = await sigma.api_key()

    left_out = [
        argument
        for _, operation in described()
        if is_for_people(operation)
        for argument in ("--exclude-operation-id", operation["operationId"])
    ]
    told = await tried(stack, tmp_path, key, *left_out)

    endpoints = {endpoint for endpoint, one in described() if not is_for_people(one)}
    assert told["operations"]["tested"] == len(endpoints)
    # What is only ever refused proves little about its answers. But nobody guesses a password, and
    # what is in use is neither deleted nor made into anything, and an import of one row has ended.
    hard = {e for e in endpoints if e.startswith(("PUT ", "DELETE ", "POST /api/v1/auth/"))}
    hard |= {f"POST /api/v1/imports/{{id}}/{word}" for word in ("cancel", "resume")}
    # The webhook of the demo's delivery is paused, and a time that nobody chose is in the future.
    hard |= {"POST /api/v1/webhooks/{id}/deliveries/{deliveryId}/redeliver"}
    hard |= {"POST /api/v1/webhooks/{id}/replay"}
    assert endpoints - accepted(told) <= hard


@pytest.mark.slow
async def test_what_people_manage_is_as_it_is_described(stack, tmp_path):
    # In a workspace of its own: keys that are in use are among those that it deletes.
    sigma = await stack.workspace()
    await seed_demo(sigma)
    person = "Authorization: " + sigma.admin.headers["Authorization"]
    key = await (await stack.workspace()).api_key()
    chosen = [argument for tag in OF_PEOPLE for argument in ("--include-tag", tag)]
    told = await tried(stack, tmp_path, key, *chosen, "--header", person)

    endpoints = {endpoint for endpoint, one in described() if one["tags"][0] in OF_PEOPLE}
    assert told["operations"]["tested"] == len(endpoints)
    keys = {endpoint for endpoint in endpoints if "/api-keys" in endpoint}
    assert keys and keys <= accepted(told)


async def tried(stack, folder: Path, key, *arguments: str) -> dict[str, Any]:
    """The report of one run in which nothing was found; the test fails with what was."""
    report, document = folder / "report.json", folder / "openapi.json"
    document.write_bytes(orjson.dumps(as_it_is_tried()))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", str(document), "--url", stack.url, "--no-color", *arguments),
        *("--report", "json", "--report-json-path", str(report)),
        cwd=folder,
        env=os.environ | {"SIGMA_TEST_API_KEY": key.headers["X-Sigma-ApiKey"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output
    told: dict[str, Any] = orjson.loads(report.read_bytes())
    phases = {name: phase["status"] for name, phase in told["phases"].items()}
    assert phases == dict.fromkeys(("examples", "coverage", "fuzzing", "stateful"), "success")
    return told


def as_it_is_tried() -> dict[str, Any]:
    """The description without what one run cannot try, or not among other things.

    Without `Idempotency-Key` and `Prefer`: Schemathesis sends one key with many requests, which is
    refused, and expects what a dry run has made. `tests/service/test_retry_matrix.py` sends both
    headers to each endpoint.

    Without the greatest number of rows of an import (`tests/service/records/test_import_rows.py`):
    every later preview, export and snapshot would read the 20,000 records that two imports make.
    """
    document: dict[str, Any] = orjson.loads(OPENAPI_FILE.read_bytes())
    del document["components"]["schemas"]["ImportRows"]["properties"]["rows"]["maxItems"]
    left_out = [
        {"$ref": f"#/components/parameters/{name}"} for name in ("IdempotencyKey", "Prefer")
    ]
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["parameters"] = [
                each for each in operation["parameters"] if each not in left_out
            ]
    return document


def accepted(told: dict[str, Any]) -> set[str]:
    """The endpoints that answered a success at least once."""
    return {
        endpoint
        for endpoint, phases in told["valid_rates"].items()
        if any(rate["accepted"] for rate in phases.values())
    }
