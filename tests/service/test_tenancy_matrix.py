"""Every id that a request can name, with the id of another workspace in its place.

Two workspaces hold the demo catalogue. In one of them a request names something of a third
workspace, in the other something that nobody has: the answers must be the same. The places come
from the route tables and models, so a new route or field is tried as soon as it is declared.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import pytest_asyncio

from deploy.openapi.export_job_examples import EXPORT_JOB
from tests.kit.demo import NOTHING_THERE, seed_demo
from tests.kit.described import GUARDED, READS, Operation
from tests.kit.direct import DirectServices, DirectWorkspace
from tests.kit.id_places import PREFIXES, body_places, path_places, query_places
from tests.kit.made_delivery import make_delivery
from tests.kit.made_job import make_job
from tests.kit.made_sync import make_sync
from tests.kit.sigma import Answer, Caller
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

THEIRS, NOBODYS = "foreign", "nowhere"
SECRET = "s3cr3t-of-another-workspace"
PLACES_AT_LEAST = {"path": 28, "query": 5, "body": 50}
# In the order in which nothing of the owner's is in use any more.
OWNED = (
    *("webhooks", "channels", "change-sets", "saved-queries", "catalogs", "records"),
    *("schemas", "attributes", "export-jobs"),
    *("option-lists", "dimensions", "workflows", "roles"),
)
# An administrator made what these change.
OF_THE_AUTHOR = {"PUT /api/v1/change-sets/{id}"}
# Of what no route of these tells the id.
NOT_OWNED = {"user"}


async def seed_foreign(owner: DirectWorkspace) -> None:
    """One thing of each kind, `<prefix>-foreign`, that has the secret in its name."""
    named = {"name": SECRET}
    await owner.dimension(THEIRS, [THEIRS], **named)
    await owner.option_list(THEIRS, [THEIRS], **named)
    await owner.attribute(THEIRS, **named)
    await owner.workflow(THEIRS, [THEIRS, "other"], **named)
    await owner.schema(THEIRS, [THEIRS], workflow=f"wf-{THEIRS}", variantEnabled=True, **named)
    await owner.role(f"role-{THEIRS}", {"*": {"*": "write"}}, **named)
    await owner.record(f"schema-{THEIRS}", {THEIRS: SECRET}, id=f"ent-{THEIRS}")
    await owner.catalog(THEIRS, **named)
    await owner.category(THEIRS, THEIRS, description=SECRET)
    assigned = {"entityId": f"ent-{THEIRS}"}
    (await owner.admin.post(f"/categories/ctg-{THEIRS}/assign", assigned)).ok()
    variant = {"id": f"var-{THEIRS}", "values": entries({THEIRS: SECRET})}
    (await owner.admin.post(f"/records/ent-{THEIRS}/variants", variant)).ok()
    key = {"id": f"apikey-{THEIRS}", "permissions": ["read"], **named}
    (await owner.admin.post("/api-keys", key)).ok()
    query = {"id": f"sq-{THEIRS}", "criteria": [], **named}
    (await owner.admin.post("/saved-queries", query)).ok()
    named = {"Content-Type": "application/x-ndjson"}
    path = f"/imports?id=imp-{THEIRS}&schemaId=schema-{THEIRS}"
    (await owner.admin.post(path, data=b"{}", headers=named)).ok()
    await make_job(owner.records_database, owner.id, f"job-{THEIRS}")
    change = {"attribute": THEIRS, "newValue": SECRET}
    operation = {"id": f"op-{THEIRS}", "type": "update", "entityId": f"ent-{THEIRS}"}
    operation["changes"] = [change]
    proposed = {"id": f"cs-{THEIRS}", "title": SECRET, "operations": [operation]}
    (await owner.admin.post("/change-sets", proposed)).ok()
    annotation = {"id": f"ann-{THEIRS}", "attribute": THEIRS, "text": SECRET, "comment": SECRET}
    path = f"/change-sets/cs-{THEIRS}/operations/op-{THEIRS}/annotate"
    (await owner.admin.post(path, annotation)).ok()
    job = {**EXPORT_JOB, "id": f"job-{THEIRS}", "description": SECRET, "name": SECRET}
    (await owner.admin.post("/export-jobs", job)).ok()
    webhook = {"id": f"wh-{THEIRS}", "url": f"https://{THEIRS}.example/", "name": SECRET}
    webhook |= {"events": ["entity.created"], "active": False}
    (await owner.admin.post("/webhooks", webhook)).ok()
    delivery = (f"dlv-{THEIRS}", f"wh-{THEIRS}", SECRET)
    await make_delivery(owner.workflow_database, owner.id, *delivery)
    channel = {"id": f"ch-{THEIRS}", "alias": THEIRS, "type": "custom", "name": SECRET}
    channel["config"] = {"url": NOTHING_THERE}
    (await owner.admin.post("/channels", channel)).ok()
    await make_sync(owner.workflow_database, owner.id, f"ch-{THEIRS}", f"synclog-{THEIRS}")


async def everything(caller: Caller) -> dict[str, Any]:
    """All that this caller can read of the foreign things and in lists."""
    addresses = {
        str(one): one.path.format_map(
            {name: f"{kind}-{THEIRS}" if kind else THEIRS for name, kind in path_places(one)}
        )
        + one.query
        for one in READS
    }
    answers = await asyncio.gather(*(caller.get(address) for address in addresses.values()))
    return {name: answer.ok() for name, answer in zip(addresses, answers, strict=True)}


@dataclass(frozen=True)
class Trio:
    """The owner of the foreign things, and two workspaces that are alike."""

    owner: DirectWorkspace
    asking: DirectWorkspace
    beside: DirectWorkspace

    async def compare(self, operation: Operation, place: str, question: Any) -> None:
        """Ask both, by an administrator and by a key that may everything.

        `question(word, caller)` is the address and the body that name the thing of this word.
        """
        by_keys = operation.permission and str(operation) not in OF_THE_AUTHOR
        for caller in ("admin", "api_key") if by_keys else ("admin",):
            theirs, nobodys = [
                await operation.send(
                    workspace.admin if caller == "admin" else workspace.api_key(), body, address
                )
                for workspace, (address, body) in (
                    (self.asking, question(THEIRS, caller)),
                    (self.beside, question(NOBODYS, caller)),
                )
            ]
            where = f"{operation} {place} by {caller}"
            assert SECRET not in written(theirs), where
            assert theirs.status not in (401, 403, 409, 500), f"{where}: {theirs.outcome}"
            assert theirs.status == nobodys.status, f"{where}: {theirs.outcome}, {nobodys.outcome}"
            assert theirs.headers.keys() == nobodys.headers.keys(), where
            if theirs.status >= 400:
                told = orjson.dumps(theirs.body).decode().replace(THEIRS, NOBODYS)
                assert orjson.loads(told) == nobodys.body, where


def written(answer: Answer) -> str:
    return orjson.dumps([answer.body, {str(k): v for k, v in answer.headers.items()}]).decode()


@pytest_asyncio.fixture(loop_scope="module")
async def trio(direct: DirectServices) -> Any:
    made = Trio(*[await direct.workspace() for _ in range(3)])
    await seed_foreign(made.owner)
    await seed_demo(made.asking)
    await seed_demo(made.beside)
    before = await everything(made.owner.admin)
    # Else a place would be tried with what does not exist, and prove nothing.
    known = orjson.dumps(before).decode()
    assert {kind for kind in PREFIXES if f'"{kind}-{THEIRS}"' not in known} == NOT_OWNED
    assert SECRET in known
    yield made
    assert await everything(made.owner.admin) == before
    # Nothing of another workspace refers to it either.
    for kind in OWNED:
        listed = before[f"GET /api/v1/{kind}"]
        for one in listed["items"] if isinstance(listed, dict) else listed:
            if THEIRS in one["id"]:
                deleted = await made.owner.admin.delete(f"/{kind}/{one['id']}")
                assert deleted.status == 204, f"{kind}: {deleted.outcome}"


async def test_an_id_in_an_address_is_nobodys_if_it_is_another_workspaces(trio: Trio):
    tried = {"path": 0, "query": 0}
    for operation in GUARDED:
        body = without_id(operation.example)
        for name, kind in path_places(operation):

            def in_path(word: str, _: str, one=operation, name=name, kind=kind, body=body) -> Any:
                named = {name: f"{kind}-{word}" if kind else word}
                return one.path.format_map(one.examples | named), body

            await trio.compare(operation, name, in_path)
            tried["path"] += 1
        for name, kind in query_places(operation):

            def in_query(word: str, _: str, one=operation, name=name, kind=kind) -> Any:
                return f"{one.address}?{name}={kind}-{word}", None

            await trio.compare(operation, name, in_query)
            tried["query"] += 1
    assert tried["path"] >= PLACES_AT_LEAST["path"]
    assert tried["query"] >= PLACES_AT_LEAST["query"]


def without_id(body: Any) -> Any:
    """An id in a body would have to be that of the address."""
    return {n: v for n, v in body.items() if n != "id"} if isinstance(body, dict) else body


async def test_an_id_in_a_body_is_nobodys_if_it_is_another_workspaces(trio: Trio):
    tried = 0
    for operation in GUARDED:
        for number, place in enumerate(body_places(operation)):

            def in_body(word: str, caller: str, one=operation, number=number, place=place) -> Any:
                body = place.filled(one.example, word)
                if one.method == "POST":
                    # A new thing each time: a taken id would be all that is told.
                    new = f"new-{number}-{caller.replace('_', '-')}"
                    body |= {name: new for name in ("id", "alias") if name in body}
                return one.address, body

            await trio.compare(operation, str(place), in_body)
            tried += 1
    assert tried >= PLACES_AT_LEAST["body"]
