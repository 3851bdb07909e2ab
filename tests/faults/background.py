"""Processes that die in the middle of work that was accepted before: an import, a change set."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any, Final

import aiohttp

from tests.faults.experiments import Form
from tests.faults.history import TOKEN
from tests.faults.scene import Scene
from tests.faults.writers import SCHEMA
from tests.kit.eventually import eventually
from tests.kit.sigma import Answer
from tests.kit.stack import RECORDS, WORKFLOW
from tests.kit.workspace import entries
from tests.service.records.import_files import send

DONE_WITHIN_S: Final = 120.0
OPERATIONS: Final = 200
ENDED: Final = frozenset({"succeeded", "partial", "failed", "cancelled"})


async def kill_in_an_import(scene: Scene, form: Form) -> None:
    """The process that imports a file dies again and again; the file has a token in each row."""
    tokens = [f"{TOKEN}{scene.name}-row-{number}" for number in range(form.rows)]
    lines = "".join(f"{token}\n" for token in tokens)
    sent = (await send(scene.admin, f"name\n{lines}", "names.csv", schemaId="apparel")).ok()
    path, last = f"/imports/{sent['id']}", 0
    for _ in range(form.server_kills):
        job = await _read_on(scene, path, last)
        if job["status"] in ENDED:
            break
        last = job["processed"]
        await scene.stack.kill(RECORDS)
        await scene.stack.start(RECORDS)
    job = await _read_on(scene, path, form.rows, DONE_WITHIN_S)
    told = {name: job[name] for name in ("status", "created", "failed")}
    if told != {"status": "succeeded", "created": form.rows, "failed": 0}:
        scene.found.unfinished.append(f"the import of {form.rows} rows ended as {told}")
    for token in tokens:
        scene.acknowledge(token)


async def _read_on(scene: Scene, path: str, behind: int, within_s: float = 30.0) -> dict[str, Any]:
    """The job when it has come further than this, or has ended, or does not get on."""
    job: dict[str, Any] = {}

    async def further() -> bool:
        nonlocal job
        answer = await asked(scene, "GET", path)
        if answer is not None and answer.status == 200:
            job = answer.body
        return bool(job) and (job["processed"] > behind or job["status"] in ENDED)

    with suppress(AssertionError):
        await eventually(further, within_s)
    return job


async def kill_in_an_application(scene: Scene, form: Form) -> None:
    """A change set that creates and updates is applied while either service dies."""
    chance = random.Random(scene.name)
    for number in range(2 * form.server_kills):
        victim = (WORKFLOW, RECORDS)[number % 2]
        tokens, path = await _approved(scene, number)
        applying = asyncio.create_task(asked(scene, "POST", f"{path}/apply"))
        await asyncio.sleep(chance.uniform(0.02, 0.6))
        await scene.stack.kill(victim)
        await applying
        await scene.stack.start(victim)
        if not await _applied(scene, path):
            scene.found.unfinished.append(f"{path} cannot be applied")
        for token in tokens:
            scene.acknowledge(token)


async def _approved(scene: Scene, number: int) -> tuple[list[str], str]:
    """The tokens and the path of a change set of creates and updates that was approved."""
    begin = f"{TOKEN}{scene.name}-set-{number}"
    made = [f"{begin}-made-{n}" for n in range(OPERATIONS // 2)]
    first = [f"{begin}-first-{n}" for n in range(OPERATIONS // 2)]
    second = [f"{begin}-second-{n}" for n in range(OPERATIONS // 2)]
    ids = [f"ent-{scene.name}-{number}-{n}" for n in range(len(first))]
    records = [
        {"id": record, "schemaId": SCHEMA, "values": entries({"name": token})}
        for record, token in zip(ids, first, strict=True)
    ]
    await _done(scene, "/records/bulk?mode=atomic", {"operations": records}, number)
    operations = [
        {
            "id": f"op-made-{n}",
            "type": "create",
            "schemaId": SCHEMA,
            "changes": [{"attribute": "name", "newValue": token}],
        }
        for n, token in enumerate(made)
    ] + [
        {
            "id": f"op-{record}",
            "type": "update",
            "entityId": record,
            "changes": [{"attribute": "name", "newValue": token}],
        }
        for record, token in zip(ids, second, strict=True)
    ]
    body = {
        "id": f"cs-{number}",
        "title": "Names",
        "source": {"type": "agent", "name": "faults"},
        "operations": operations,
    }
    await _done(scene, "/change-sets", body, number)
    path = f"/change-sets/cs-{number}"
    await _done(scene, f"{path}/submit", {}, number)
    await _done(scene, f"{path}/approve", {}, number)
    return [*made, *first, *second], path


async def _applied(scene: Scene, path: str) -> bool:
    """Apply it again until it says that it is; False if it never does."""

    async def done() -> bool:
        await asked(scene, "POST", f"{path}/apply")
        answer = await asked(scene, "GET", path)
        return answer is not None and answer.status == 200 and answer.body["status"] == "applied"

    with suppress(AssertionError):
        return await eventually(done, 20)
    return False


async def _done(scene: Scene, path: str, body: Any, number: int) -> None:
    """A request of this change set that has to succeed, as soon as both services are there."""
    headers = {"Idempotency-Key": f"{number}{path}"}

    async def made() -> bool:
        answer = await scene.admin.post(path, body, headers=headers)
        assert answer.status < 300, answer.outcome
        return True

    await eventually(made, 30)


async def asked(scene: Scene, method: str, path: str) -> Answer | None:
    """The answer, None if there was none."""
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(60):
            return await scene.admin.ask(method, path, {} if method == "POST" else None)
    return None
