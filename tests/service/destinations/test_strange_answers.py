"""Servers that answer what the protocol does not know: the failure says so, in our words."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from tests.service.destinations.conftest import FILE
from tests.service.destinations.test_hostile_servers import config, served
from workflow_service.destinations import DeliveryFailed, opened, try_connection
from workflow_service.destinations.s3 import PART_BYTES

LARGE = b"x" * (PART_BYTES + 1)
BEGUN = (
    "<InitiateMultipartUploadResult><UploadId>upload-1</UploadId></InitiateMultipartUploadResult>"
)
COMPLETED = '<CompleteMultipartUploadResult><ETag>"etag"</ETag></CompleteMultipartUploadResult>'
ERROR = "<Error><Code>InternalError</Code><Message>We erred</Message></Error>"
ETAG = {"ETag": '"etag"'}
UNREADABLE = "The server failed, or its answer cannot be read"
NOT_S3 = "The server answered without '{}': it does not speak S3"


class Server:
    """Speaks as much of S3 as an upload needs, but for the answers that it is told."""

    def __init__(self, **strange: tuple[str, dict[str, str]]) -> None:
        self.answers = {
            "list": ("<ListMultipartUploadsResult/>", {}),
            "begin": (BEGUN, {}),
            "part": ("", ETAG),
            "complete": (COMPLETED, {}),
            "put": ("", ETAG),
            "abort": ("", {}),
            **strange,
        }
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        match request.method:
            case "GET":
                operation = "list"
            case "POST":
                operation = "begin" if "uploads" in request.query else "complete"
            case "PUT":
                operation = "part" if "partNumber" in request.query else "put"
            case _:
                operation = "abort"
        self.asked.append(operation)
        text, headers = self.answers[operation]
        return web.Response(text=text, headers=headers, content_type="application/xml")


async def uploaded(server: Server, content: bytes, outbound: Any) -> str:
    """Where the file is, or why it is not there."""
    async with served(server.answer) as url:
        try:
            async with opened("s3", config("s3", url), FILE, outbound) as upload:
                await upload.write(content)
                return await upload.commit()
        except DeliveryFailed as failed:
            return str(failed)


async def test_the_server_of_these_tests_takes_files(outbound):
    for content in (b"small", LARGE):
        assert await uploaded(Server(), content, outbound) == f"s3://exports/{FILE.name}"


@pytest.mark.parametrize(
    ("operation", "answer", "reason"),
    [
        ("begin", ("<InitiateMultipartUploadResult/>", {}), NOT_S3.format("UploadId")),
        ("begin", ("", {}), NOT_S3.format("UploadId")),
        ("begin", ("<html>Welcome</html>", {}), NOT_S3.format("UploadId")),
        ("begin", ("Welcome", {}), UNREADABLE),
        ("part", ("", {}), NOT_S3.format("ETag")),
        ("complete", (ERROR, {}), "The server answered 'InternalError'"),
        ("complete", ("", {}), NOT_S3.format("ETag")),
        ("complete", (COMPLETED[:40], {}), UNREADABLE),
    ],
)
async def test_a_success_of_s3_that_is_none(outbound, operation, answer, reason):
    server = Server(**{operation: answer})
    assert await uploaded(server, LARGE, outbound) == reason
    # What was begun is aborted.
    assert ("abort" in server.asked) == (operation != "begin")


async def test_a_small_file_needs_its_confirmation(outbound):
    assert await uploaded(Server(put=("", {})), b"small", outbound) == NOT_S3.format("ETag")


async def test_leftovers_that_nobody_can_name_are_left(outbound):
    left = f"<Upload/><Upload><Key>{FILE.name}</Key></Upload>"
    listed = f"<ListMultipartUploadsResult>{left}</ListMultipartUploadsResult>"
    assert await uploaded(Server(list=(listed, {})), LARGE, outbound) == f"s3://exports/{FILE.name}"


async def test_a_connection_test_says_the_same(outbound):
    async with served(Server(begin=("", {})).answer) as url:
        with pytest.raises(DeliveryFailed) as failed:
            await try_connection("s3", config("s3", url), outbound)
    assert str(failed.value) == NOT_S3.format("UploadId")


@pytest.mark.parametrize("kind", ["webhook", "azure-blob", "s3"])
async def test_what_is_no_http_is_told(outbound, kind):
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/9.9 abc \x00\xff\r\nnothing: \x00\r\n\r\n")
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        given = {"url": url, "headers": {}} if kind == "webhook" else config(kind, url)
        with pytest.raises(DeliveryFailed) as failed:
            async with opened(kind, given, FILE, outbound) as upload:
                await upload.write(b"piece")
                await upload.commit()
    assert "not understood" not in str(failed.value)


async def test_an_azure_that_accepts_otherwise_is_told(outbound):
    async def fine(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text="<fine/>", content_type="application/xml")

    async with served(fine) as url:
        with pytest.raises(DeliveryFailed) as failed:
            async with opened("azure-blob", config("azure-blob", url), FILE, outbound) as upload:
                await upload.write(b"piece")
                await upload.commit()
    assert str(failed.value) == "The account answered '200'"


async def test_what_a_library_does_not_expect_is_a_failure_of_the_delivery(outbound, monkeypatch):
    async def surprised(*_: Any, **__: Any) -> None:
        raise KeyError("UploadId")

    monkeypatch.setattr("workflow_service.destinations.s3.S3Upload.commit", surprised)
    reason = await uploaded(Server(), b"small", outbound)
    assert reason == "What the destination answered was not understood"


async def test_a_folder_of_sftp_may_have_names_in_any_encoding(sftp, outbound):
    other = bytes(sftp.files) + b"/caf\xe9.csv"
    with open(other, "wb"):  # noqa: PTH123, ASYNC230 - a name that is no text
        pass
    async with opened("sftp", sftp.config(), FILE, outbound) as upload:
        await upload.write(b"piece")
        await upload.commit()
    assert (sftp.files / FILE.name).read_bytes() == b"piece"
    # The folder is that of other tests as well.
    (sftp.files / FILE.name).unlink()
    os.unlink(other)  # noqa: PTH108 - a name that is no text
