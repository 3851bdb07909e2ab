"""Files that are the body of one POST."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.eventually import eventually
from tests.service.destinations.conftest import FILE
from workflow_service.destinations import DeliveryFailed, opened, try_connection

CONTENT = b"0123456789abcdef" * 200_000


def config(receiver) -> dict:
    return {"url": f"{receiver.url}?token=t", "headers": {"X-Token": "secret"}}


@pytest.mark.parametrize("content", [b"", b"_id\r\n", CONTENT], ids=["empty", "small", "large"])
async def test_the_file_is_the_body(receiver, outbound, content):
    async with opened("webhook", config(receiver), FILE, outbound) as upload:
        for at in range(0, len(content), 70_001):
            await upload.write(content[at : at + 70_001])
        assert receiver.heard == []
        assert await upload.commit() == receiver.url
    ((headers, body),) = receiver.heard
    assert body == content
    assert {name: headers[name] for name in ("Content-Type", "X-Token", "Idempotency-Key")} == {
        "Content-Type": "text/csv; charset=utf-8",
        "X-Token": "secret",
        "Idempotency-Key": "run-1",
    }
    assert headers["Content-Disposition"] == f'attachment; filename="{FILE.name}"'


async def test_a_file_that_fails_ends_before_its_end(receiver, outbound):
    with pytest.raises(RuntimeError):
        async with opened("webhook", config(receiver), FILE, outbound) as upload:
            await upload.write(CONTENT)
            await receiver.reached.wait()
            raise RuntimeError
    await eventually(lambda: receiver.cut == 1)
    assert receiver.heard == []


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (401, "Access denied: the receiver answered 401"),
        (302, "The receiver answered 302"),
        (500, "The receiver answered 500"),
    ],
)
@pytest.mark.parametrize("answers_first", [False, True])
async def test_a_refusal_is_the_cause(receiver, outbound, status, cause, answers_first):
    receiver.status, receiver.answers_first = status, answers_first
    with pytest.raises(DeliveryFailed) as failed:
        async with opened("webhook", config(receiver), FILE, outbound) as upload:
            await upload.write(b"piece")
            await upload.commit()
    assert str(failed.value) == cause


async def test_an_answer_before_the_end_is_no_success(receiver, outbound):
    receiver.answers_first = True
    with pytest.raises(DeliveryFailed) as failed:
        async with opened("webhook", config(receiver), FILE, outbound) as upload:
            while True:
                await upload.write(b"piece" * 10_000)
                await asyncio.sleep(0)
    assert str(failed.value) in (
        "The receiver answered 200 before it had the whole file",
        "Host '127.0.0.1' ended the connection before its answer",
        "Host '127.0.0.1' ended the connection",
    )


async def test_trying_the_connection_sends_no_file(receiver, outbound):
    await try_connection("webhook", config(receiver), outbound)
    assert receiver.heard == []
    receiver.status = 403
    with pytest.raises(DeliveryFailed) as failed:
        await try_connection("webhook", config(receiver), outbound)
    assert str(failed.value) == "Access denied: the receiver answered 403"
    with pytest.raises(DeliveryFailed) as failed:
        await try_connection("webhook", {"url": "http://127.0.0.1:9", "headers": {}}, outbound)
    assert str(failed.value) == "Host '127.0.0.1' refuses the connection"
