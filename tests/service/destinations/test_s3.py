"""Uploads to a server that speaks S3."""

from __future__ import annotations

import pytest

from tests.service.destinations.conftest import FILE
from workflow_service.destinations import DeliveryFailed, opened, try_connection
from workflow_service.destinations.s3 import PART_BYTES

LARGE = b"0123456789abcdef" * (PART_BYTES // 16 * 2) + b"end"


@pytest.mark.parametrize("content", [b"", b"_id,name\r\n", LARGE], ids=["empty", "small", "large"])
async def test_a_file_appears_when_it_is_committed(s3, outbound, content):
    config = s3.config(path="/daily/products.csv")
    async with opened("s3", config, FILE, outbound) as upload:
        for at in range(0, len(content), 1_000_003):
            await upload.write(content[at : at + 1_000_003])
        assert "daily/products.csv" not in s3.names()
        assert await upload.commit() == "s3://exports/daily/products.csv"
    assert s3.read("daily/products.csv") == content
    head = s3.client.head_object(Bucket=s3.bucket, Key="daily/products.csv")
    assert head["ContentType"] == "text/csv; charset=utf-8"
    s3.client.delete_object(Bucket=s3.bucket, Key="daily/products.csv")


async def test_a_path_without_extension_is_a_folder(s3, outbound):
    async with opened("s3", s3.config(path="/daily/v1"), FILE, outbound) as upload:
        assert await upload.commit() == f"s3://exports/daily/v1/{FILE.name}"


async def test_an_upload_that_fails_leaves_nothing(s3, outbound):
    with pytest.raises(RuntimeError):
        async with opened("s3", s3.config(path="failed.csv"), FILE, outbound) as upload:
            await upload.write(LARGE)
            assert s3.unfinished() == ["failed.csv"]
            raise RuntimeError
    assert s3.unfinished() == []
    assert "failed.csv" not in s3.names()


@pytest.mark.parametrize(
    ("other", "cause"),
    [
        ({"bucket": "elsewhere"}, "Bucket 'elsewhere' not found"),
        (
            {"secretAccessKey": "wrong"},
            "Access denied: 'secretAccessKey' is not the key of 'accessKeyId'",
        ),
        (
            {"accessKeyId": "AKIAWRONG"},
            "Access denied: the server does not know this 'accessKeyId'",
        ),
        ({"endpoint": "http://127.0.0.1:9"}, "The server refuses the connection"),
        ({"endpoint": "http://nowhere.invalid"}, "Host 'nowhere.invalid' cannot be resolved"),
    ],
)
async def test_a_failure_says_its_cause(s3, outbound, other, cause):
    with pytest.raises(DeliveryFailed) as failed:
        await try_connection("s3", s3.config(**other), outbound)
    assert str(failed.value) == cause
    with pytest.raises(DeliveryFailed) as failed:
        async with opened("s3", s3.config(**other), FILE, outbound) as upload:
            await upload.commit()
    assert str(failed.value) == cause


async def test_trying_the_connection_leaves_nothing(s3, outbound):
    before = s3.names()
    await try_connection("s3", s3.config(path="tried/"), outbound)
    assert (s3.names(), s3.unfinished()) == (before, [])


async def test_nothing_of_the_process_takes_part(s3, outbound, monkeypatch):
    """Settings of Amazon's own tools, which a server may have for other purposes."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "other")
    monkeypatch.setenv("AWS_PROFILE", "other")
    await try_connection("s3", s3.config(), outbound)
