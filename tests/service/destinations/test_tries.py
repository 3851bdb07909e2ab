"""Two tries of one run: a process goes on after another one has taken its run over."""

from __future__ import annotations

from contextlib import suppress

import pytest
from azure.storage.blob.aio import BlobServiceClient

from tests.service.destinations.conftest import FILE
from workflow_service.destinations import DeliveryFailed, opened

MEBIBYTES_10 = 10 << 20
"""More than a part, so that something is uploaded before the commit."""
FIRST, SECOND = b"1" * MEBIBYTES_10, b"2" * (MEBIBYTES_10 + 1)


async def take_over(kind: str, config: dict, outbound) -> None:
    """The first try writes, the second begins and writes; then the first goes on, and is last."""
    async with opened(kind, config, FILE, outbound) as first:
        await first.write(FIRST)
        async with opened(kind, config, FILE, outbound) as second:
            await second.write(SECOND)
            with suppress(DeliveryFailed):
                await first.write(FIRST)
            await second.commit()
        with pytest.raises(DeliveryFailed):
            await first.commit()


async def test_s3_has_the_whole_file_of_the_second(s3, outbound):
    config = s3.config(path="tries.csv")
    await take_over("s3", config, outbound)
    assert s3.read("tries.csv") == SECOND
    assert s3.unfinished() == []


async def test_sftp_has_the_whole_file_of_the_second(sftp, outbound):
    target = sftp.files / "tries.csv"
    await take_over("sftp", sftp.config(path=str(target)), outbound)
    assert target.read_bytes() == SECOND
    assert list(sftp.files.iterdir()) == [target]
    target.unlink()


async def test_sftp_has_nothing_of_a_first_that_ends_while_the_second_writes(sftp, outbound):
    config = sftp.config()
    async with opened("sftp", config, FILE, outbound) as first:
        await first.write(FIRST)
        async with opened("sftp", config, FILE, outbound) as second:
            await second.write(SECOND)
            with pytest.raises(DeliveryFailed):
                await first.commit()
            assert not (sftp.files / FILE.name).exists()
            await second.commit()
    assert (sftp.files / FILE.name).read_bytes() == SECOND
    (sftp.files / FILE.name).unlink()


async def test_azure_has_the_whole_file_of_the_second(azure, outbound):
    config = azure.config(path="tries.csv", container="tries")
    async with BlobServiceClient.from_connection_string(azure.connection_string) as service:
        container = await service.create_container("tries")
        await take_over("azure-blob", config, outbound)
        assert await (await container.download_blob("tries.csv")).readall() == SECOND
