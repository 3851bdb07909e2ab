"""The file of a run is what `GET /export` gives, at a destination of every kind."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from azure.storage.blob.aio import BlobServiceClient

from tests.kit.file_servers import AzureServer, S3Server, SftpServer
from tests.kit.sigma import error
from tests.service.exports.conftest import Exports
from workflow_service.export_jobs import commands

UNUSUAL = '=1+1 \x07\U0001f600&<,"\r\nå ø 漢\u2028'
SCOPE = {"dim-language": "seg-da"}


@pytest.fixture
async def exports(exports: Exports) -> Exports:
    """With texts that are hard to write, in two languages, and a catalog."""
    workspace = exports.workspace
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("text", dimensionIds=["dim-language"])
    await workspace.schema("y", ["sku", "text"])
    names = [{"scope": {"dim-language": "seg-en"}, "value": UNUSUAL}]
    names.append({"scope": {"dim-language": "seg-da"}, "value": "Trøje"})
    for number in range(2):
        values = {"sku": f"-0{number}", "text": names}
        await workspace.record("schema-y", values, id=f"ent-y{number}")
    await workspace.catalog("web")
    await workspace.category("top", "web")
    assigned = {"entityIds": ["ent-y1", "ent-0"]}
    (await exports.admin.post("/categories/ctg-top/assign", assigned)).ok()
    await exports.worker()
    return exports


async def received(exports: Exports, **job: Any) -> tuple[dict[str, Any], bytes]:
    """The run of such a job, and the file that it made."""
    made = await exports.job(**job)
    run = await exports.run(made["id"])
    assert (run["status"], run["error"]) == ("success", None)
    file = exports.receiver.files[-1]
    assert run["fileSize"] == len(file)
    return run, file


FILTERS = [
    pytest.param({}, "", 5, id="all"),
    pytest.param({"dimensionScope": SCOPE}, f"&scope={json.dumps(SCOPE)}", 5, id="scope"),
    pytest.param({"catalogId": "cat-web"}, "&catalogId=cat-web", 2, id="catalog"),
    pytest.param(
        {"schemaId": "schema-y", "catalogId": "cat-web", "dimensionScope": SCOPE},
        f"&schemaId=schema-y&catalogId=cat-web&scope={json.dumps(SCOPE)}",
        1,
        id="together",
    ),
]


@pytest.mark.parametrize(("filters", "query", "count"), FILTERS)
async def test_every_format_has_what_an_export_has(exports: Exports, filters, query, count):
    async def exported(asked: str) -> Any:
        return (await exports.admin.get(f"/export?format={asked}{query}")).ok()

    run, file = await received(exports, format="csv", **filters)
    assert (file.decode(), run["recordCount"]) == (await exported("csv"), count)

    rows = await exported("json")
    run, file = await received(exports, format="json", **filters)
    assert (json.loads(file), run["recordCount"]) == (rows, count)
    run, file = await received(exports, format="jsonl", compression="gzip", **filters)
    lines = gzip.decompress(file).decode().splitlines()
    assert ([json.loads(line) for line in lines], run["recordCount"]) == (rows, count)

    run, file = await received(exports, format="xml", **filters)
    elements = list(ET.fromstring(file))
    ids = [row["_id" if "dimensionScope" in filters else "id"] for row in rows]
    assert ([each.get("id") for each in elements], run["recordCount"]) == (ids, count)


async def test_xml_counts_what_it_cannot_hold(exports: Exports):
    run, file = await received(exports, format="xml", schemaId="schema-y")
    assert run["replacedCharacters"] == 2
    first = ET.fromstring(file)[0]
    assert [(value.attrib, value.text) for value in first] == [
        ({"attribute": "sku"}, "-00"),
        (
            {"attribute": "text", "dim-language": "seg-en"},
            UNUSUAL.replace("\x07", "\ufffd"),
        ),
        ({"attribute": "text", "dim-language": "seg-da"}, "Trøje"),
    ]
    run, _ = await received(exports, format="csv")
    assert run["replacedCharacters"] == 0


async def test_a_run_brings_its_file_to_s3(exports: Exports, s3: S3Server):
    job = await exports.job(
        destinationType="s3", destinationConfig=s3.config(path="nightly"), compression="gzip"
    )
    run = await exports.run(job["id"])
    assert (run["status"], run["error"]) == ("success", None)
    place = run["destinationPath"].removeprefix("s3://exports/")
    assert place.startswith("nightly/everything-")
    assert place.endswith(".jsonl.gz")
    file = s3.read(place)
    assert run["fileSize"] == len(file)
    assert len(gzip.decompress(file).splitlines()) == run["recordCount"] == 5


async def test_a_run_brings_its_file_to_sftp(exports: Exports, sftp: SftpServer):
    target = sftp.files / "everything.csv"
    job = await exports.job(
        destinationType="sftp", destinationConfig=sftp.config(path=str(target)), format="csv"
    )
    for _ in range(2):
        run = await exports.run(job["id"])
        assert (run["status"], run["destinationPath"]) == ("success", str(target))
    exported = (await exports.admin.get("/export?format=csv")).ok()
    assert target.read_bytes().decode() == exported
    assert list(sftp.files.iterdir()) == [target]
    target.unlink()


async def test_a_run_brings_its_file_to_azure(exports: Exports, azure: AzureServer):
    config = azure.config(container="runs", path="everything.json")
    async with BlobServiceClient.from_connection_string(azure.connection_string) as service:
        container = await service.create_container("runs")
        job = await exports.job(
            destinationType="azure-blob", destinationConfig=config, format="json"
        )
        run = await exports.run(job["id"])
        assert (run["status"], run["error"]) == ("success", None)
        assert run["destinationPath"] == "runs/everything.json"
        blob = await container.download_blob("everything.json")
        assert json.loads(await blob.readall()) == (await exports.admin.get("/export")).ok()


@pytest.mark.parametrize(
    ("kind", "other", "cause"),
    [
        ("s3", {"bucket": "elsewhere"}, "Bucket 'elsewhere' not found"),
        ("sftp", {"path": "/nowhere/at/all"}, "Folder '/nowhere/at/all' not found"),
    ],
)
async def test_a_run_that_fails_says_why_and_no_secret(
    exports: Exports, s3: S3Server, sftp: SftpServer, kind, other, cause
):
    config = {"s3": s3.config, "sftp": sftp.config}[kind](**other)
    job = await exports.job(destinationType=kind, destinationConfig=config)
    run = await exports.run(job["id"])
    assert (run["status"], run["error"], run["destinationPath"]) == ("failed", cause, None)
    shown = json.dumps([job, (await exports.admin.get(f"/export-jobs/{job['id']}")).ok(), run])
    for secret in (s3.key, sftp.key.read_text().splitlines()[2]):
        assert secret not in shown


async def test_a_destination_is_tested_before_a_run(exports: Exports, s3: S3Server):
    async def tested(**config: str) -> Any:
        job = await exports.job(destinationType="s3", destinationConfig=s3.config(**config))
        return (await exports.admin.post(f"/export-jobs/{job['id']}/test-connection")).outcome

    before = s3.names()
    assert await tested() == (200, {"ok": True, "error": None})
    assert await tested(bucket="elsewhere") == (
        200,
        {"ok": False, "error": "Bucket 'elsewhere' not found"},
    )
    assert (s3.names(), s3.unfinished()) == (before, [])
    missing = await exports.admin.post("/export-jobs/job-none/test-connection")
    assert missing.outcome == error(404, "NOT_FOUND", "Export job 'job-none' not found")


async def test_a_destination_that_does_not_answer_is_given_up(exports: Exports, monkeypatch):
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(commands, "TEST_S_MAX", 0.5)
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        job = await exports.job(destinationConfig={"url": f"http://127.0.0.1:{port}/"})
        answer = await exports.admin.post(f"/export-jobs/{job['id']}/test-connection")
    assert answer.outcome == (
        200,
        {"ok": False, "error": "The destination did not answer within 0.5 seconds"},
    )
