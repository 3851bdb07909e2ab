"""Uploads to Azurite with the official client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient, ContainerClient

from tests.service.destinations.conftest import FILE
from workflow_service.destinations import DeliveryFailed, opened, try_connection
from workflow_service.destinations.azure_blob import BLOCK_BYTES

LARGE = b"0123456789abcdef" * (BLOCK_BYTES // 16 * 2) + b"end"


@pytest.fixture
async def container(azure) -> AsyncIterator[ContainerClient]:
    async with BlobServiceClient.from_connection_string(azure.connection_string) as service:
        container = await service.create_container(azure.container)
        yield container
        await container.delete_container()


async def names(container: ContainerClient) -> list[str]:
    return [each.name async for each in container.list_blobs()]


@pytest.mark.parametrize("content", [b"", b"_id,name\r\n", LARGE], ids=["empty", "small", "large"])
async def test_a_file_appears_when_it_is_committed(azure, container, outbound, content):
    config = azure.config(path="/daily/products.csv")
    async with opened("azure-blob", config, FILE, outbound) as upload:
        for at in range(0, len(content), 1_000_003):
            await upload.write(content[at : at + 1_000_003])
        assert await names(container) == []
        assert await upload.commit() == "exports/daily/products.csv"
    blob = await container.download_blob("daily/products.csv")
    assert await blob.readall() == content
    assert blob.properties.content_settings.content_type == "text/csv; charset=utf-8"


async def test_an_upload_that_fails_leaves_what_there_was(azure, container, outbound):
    config = azure.config(path="products.csv")
    async with opened("azure-blob", config, FILE, outbound) as upload:
        await upload.write(b"first")
        await upload.commit()
    with pytest.raises(RuntimeError):
        async with opened("azure-blob", config, FILE, outbound) as upload:
            await upload.write(LARGE)
            raise RuntimeError
    assert await (await container.download_blob("products.csv")).readall() == b"first"
    await try_connection("azure-blob", config, outbound)
    async with opened("azure-blob", config, FILE, outbound) as upload:
        await upload.write(b"second")
        await upload.commit()
    assert await (await container.download_blob("products.csv")).readall() == b"second"


async def test_a_failure_says_its_cause(azure, container, outbound):
    async def cause(**other) -> str:
        with pytest.raises(DeliveryFailed) as failed:
            await try_connection("azure-blob", azure.config(**other), outbound)
        return str(failed.value)

    connection = azure.connection_string
    wrong = connection.replace("AccountKey=E", "AccountKey=F")
    assert await cause(connectionString=wrong) == "Access to container 'exports' denied"
    assert await cause(container="elsewhere") == "Container 'elsewhere' not found"
    elsewhere = connection.replace(str(azure.port), "9")
    assert await cause(connectionString=elsewhere) == "The account refuses the connection"


async def test_trying_the_connection_leaves_nothing(azure, container, outbound):
    await try_connection("azure-blob", azure.config(path="tried.csv"), outbound)
    assert await names(container) == []
    with pytest.raises(ResourceNotFoundError):
        await container.download_blob("tried.csv")
