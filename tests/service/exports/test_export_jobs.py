"""Export jobs over HTTP: what is checked when they are saved, and what is shown of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kit.sigma import error
from tests.service.exports.conftest import Exports

SECRET = "Bearer 0123456789abcdef"
MASK = "********cdef"


def refused(message: str) -> tuple[int, dict[str, str]]:
    return error(400, "VALIDATION_ERROR", message)


async def test_a_job_is_created_active_with_its_next_time(exports: Exports):
    made = await exports.admin.post("/export-jobs", exports.body(id="job-a", timezone="Asia/Tokyo"))
    assert made.status == 201
    assert made.headers["Location"] == "/api/v1/export-jobs/job-a"
    assert made.headers["ETag"] == '"1"'
    assert made.body == {
        **exports.body(id="job-a", timezone="Asia/Tokyo"),
        "description": None,
        "destinationConfig": {"url": exports.receiver.url + "/in", "headers": {}},
        "compression": "none",
        "schemaId": None,
        "catalogId": None,
        "dimensionScope": None,
        "status": "active",
        "createdBy": "user-admin",
        "runsAs": "user-admin",
        "createdAt": made.body["createdAt"],
        "updatedAt": made.body["createdAt"],
        "lastRunAt": None,
        "nextRunAt": made.body["nextRunAt"],
    }
    assert made.body["nextRunAt"].endswith("-12-31T15:00:00.000Z")
    assert (await exports.admin.get("/export-jobs/job-a")).ok() == made.body
    assert (await exports.admin.get("/export-jobs")).ok() == [made.body]
    taken = await exports.admin.post("/export-jobs", exports.body(id="job-a"))
    assert taken.outcome == error(409, "CONFLICT", "Export job with id 'job-a' already exists")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"schedule": "30 2 * *"},
            (
                "Field 'schedule' expects a cron line of five fields (minute, hour, day of the"
                " month, month, day of the week), such as '30 2 * * 1-5', got '30 2 * *': it has 4"
                " fields"
            ),
        ),
        (
            {"timezone": "CEST"},
            (
                "Field 'timezone' expects the IANA name of a time zone, such as"
                " 'Europe/Copenhagen', got 'CEST'"
            ),
        ),
        ({"schemaId": "schema-none"}, "Field 'schemaId': Schema 'schema-none' not found"),
        ({"catalogId": "cat-none"}, "Field 'catalogId': Catalog 'cat-none' not found"),
    ],
)
async def test_what_is_wrong_is_told_when_it_is_saved(
    exports: Exports, more: dict[str, Any], message: str
):
    answer = await exports.admin.post("/export-jobs", exports.body(**more))
    assert answer.outcome == refused(message)


async def test_a_destination_is_checked_by_its_type(exports: Exports):
    config = {"url": "http://169.254.169.254/latest", "header": {}}
    answer = await exports.admin.post("/export-jobs", exports.body(destinationConfig=config))
    assert answer.status == 400
    assert "destinationConfig.header" in answer.body["message"]
    del config["header"]
    answer = await exports.admin.post("/export-jobs", exports.body(destinationConfig=config))
    assert answer.status == 400
    assert "destinationConfig.url" in answer.body["message"]
    answer = await exports.admin.post("/export-jobs", exports.body(destinationType="ftp"))
    assert answer.status == 400
    unknown = await exports.admin.post("/export-jobs", exports.body(dimensionScope={"dim-x": "s"}))
    assert unknown.body["message"].startswith("Field 'dimensionScope': ")


async def test_secrets_are_masked_sealed_and_kept_when_the_mask_comes_back(exports: Exports):
    url = exports.receiver.url
    config = {"url": url + "/in", "headers": {"Authorization": SECRET, "X-Source": "pim"}}
    job = await exports.job(destinationConfig=config)
    masked = {"url": url + "/in", "headers": {"Authorization": MASK, "X-Source": "********"}}
    assert job["destinationConfig"] == masked
    stored = await exports.database.fetchval("SELECT export_jobs::text FROM export_jobs")
    assert SECRET not in stored
    moved = masked | {"url": url + "/other"}
    changed = await exports.admin.put(
        f"/export-jobs/{job['id']}", job | {"destinationConfig": moved}
    )
    assert changed.ok()["destinationConfig"] == moved
    await exports.worker()
    await exports.run(job["id"])
    (headers,) = exports.receiver.headers
    assert (headers["Authorization"], headers["X-Source"]) == (SECRET, "pim")


async def test_a_mask_does_not_send_a_secret_to_another_server(exports: Exports):
    config = {"url": exports.receiver.url + "/in", "headers": {"Authorization": SECRET}}
    job = await exports.job(destinationConfig=config)
    elsewhere = job["destinationConfig"] | {"url": "https://collector.example.org/in"}
    answer = await exports.admin.put(f"/export-jobs/{job['id']}", {"destinationConfig": elsewhere})
    assert answer.outcome == refused(
        "Field 'destinationConfig.headers.Authorization' is a mask, and 'destinationConfig.url' is"
        " another one than before: send the secret itself, because it goes to another server"
    )
    elsewhere["headers"] = {"Authorization": "Bearer of-the-collector"}
    answer = await exports.admin.put(f"/export-jobs/{job['id']}", {"destinationConfig": elsewhere})
    assert answer.ok()["destinationConfig"]["headers"] == {"Authorization": "********ctor"}


async def test_fields_that_are_left_out_stay(exports: Exports):
    job = await exports.job(description="All of it", schemaId="schema-x")
    path = f"/export-jobs/{job['id']}"
    changed = (await exports.admin.put(path, {"schemaId": None, "status": "paused"})).ok()
    assert changed == job | {"schemaId": None, "updatedAt": changed["updatedAt"]}
    later = (await exports.admin.put(path, {"schedule": "0 0 1 2 *"})).ok()
    assert later["nextRunAt"][5:10] == "02-01"
    assert (await exports.admin.put(path, {"format": None})).outcome == refused(
        "Field 'format' cannot be null"
    )
    answer = await exports.admin.put(path, {"name": "x"}, headers={"If-Match": '"1"'})
    assert answer.status == 412
    assert (await exports.admin.put(path, {"destinationType": "s3"})).outcome == refused(
        "Field 'destinationConfig' is required with another 'destinationType'"
    )


async def test_changes_at_the_same_time_all_hold(exports: Exports):
    job = await exports.job()
    path = f"/export-jobs/{job['id']}"
    answers = await asyncio.gather(
        exports.admin.put(path, {"name": "One"}),
        exports.admin.put(path, {"description": "Two"}),
        exports.admin.post(path + "/pause"),
    )
    assert [answer.status for answer in answers] == [200, 200, 200]
    stored = (await exports.admin.get(path)).ok()
    assert (stored["name"], stored["description"], stored["status"]) == ("One", "Two", "paused")
    assert stored["nextRunAt"] is None


async def test_a_deleted_job_is_gone_with_its_runs(exports: Exports):
    job = await exports.job()
    path = f"/export-jobs/{job['id']}"
    (await exports.admin.post(path + "/runs")).ok()
    assert (await exports.admin.delete(path)).status == 204
    for gone in (path, path + "/runs"):
        assert (await exports.admin.get(gone)).outcome == error(
            404, "NOT_FOUND", f"Export job '{job['id']}' not found"
        )
    assert await exports.database.fetchval("SELECT count(*) FROM export_runs") == 0
