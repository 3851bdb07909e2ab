"""Uploads to Azure Blob Storage.

The file is a list of blocks, which is a blob only when it is committed. Azure removes blocks that
nobody committed after a week.
"""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import BlobBlock, ContentSettings
from azure.storage.blob.aio import BlobClient, ExponentialRetry

from workflow_service.destinations.answers import BoundedResponse
from workflow_service.destinations.causes import reason_of
from workflow_service.destinations.model import DeliveryFailed, File, cut, key_of
from workflow_service.destinations.shapes import AzureBlobConfig, blob_endpoint
from workflow_service.outbound.client import Outbound

BLOCK_BYTES: Final = 8 << 20
"""Fifty thousand blocks are allowed: a file has 390 GiB at most."""
BLOCKS_MAX: Final = 50_000
CONNECT_TIMEOUT_S: Final = 10
READ_TIMEOUT_S: Final = 60
RETRIES: Final = 2
_CAUSES: Final = {
    "ContainerNotFound": "Container '{container}' not found",
    "AuthenticationFailed": "Access denied: the account does not accept 'connectionString'",
    "AuthorizationFailure": "Access to container '{container}' denied",
    "AuthorizationPermissionMismatch": "Access to container '{container}' denied",
    "InvalidResourceName": "The account refuses the name of the container or of the file",
}


@asynccontextmanager
async def opened(
    config: AzureBlobConfig, file: File, outbound: Outbound
) -> AsyncIterator[AzureBlobUpload]:
    """An upload of this file."""
    host = urlsplit(blob_endpoint(config.connection_string)).hostname or ""
    # The client would try again what is refused each time it connects.
    await outbound.resolve(host, 0)
    key = key_of(config.path, file.name)
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=outbound.resolver,
                socket_factory=outbound.socket_factory_for(host),
                use_dns_cache=False,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=BoundedResponse,
            auto_decompress=False,
            trust_env=False,
        ) as session,
        AioHttpTransport(
            session=session,
            session_owner=False,
            use_env_settings=False,
            connection_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
        ) as transport,
        BlobClient.from_connection_string(
            config.connection_string,
            config.container,
            key,
            transport=transport,
            # By its own defaults, the client would wait for a minute for a dead server.
            retry_policy=ExponentialRetry(
                retry_total=RETRIES, initial_backoff=1, increment_base=1, random_jitter_range=1
            ),
            permit_redirects=False,
        ) as client,
    ):
        yield AzureBlobUpload(client, config, key, file)


async def try_out(config: AzureBlobConfig, file: File, outbound: Outbound) -> None:
    """Upload one block, which is never committed."""
    async with opened(config, file, outbound) as upload:
        await upload.upload_block(b"\n")


class AzureBlobUpload:
    """A blob that appears when its blocks are committed."""

    def __init__(self, client: BlobClient, config: AzureBlobConfig, key: str, file: File) -> None:
        self._client = client
        self._config = config
        self._key = key
        self._media_type = file.media_type
        # All blocks of a blob have ids of one length. Those of other tries are not committed.
        self._try = secrets.token_hex(8)
        self._blocks: list[BlobBlock] = []
        self._waiting = bytearray()

    async def write(self, data: bytes) -> None:
        """Upload a block whenever enough has come for it."""
        self._waiting += data
        while len(self._waiting) >= BLOCK_BYTES:
            await self.upload_block(cut(self._waiting, BLOCK_BYTES))

    async def commit(self) -> str:
        """Commit the blocks; a blob of this name is replaced."""
        if self._waiting:
            await self.upload_block(bytes(self._waiting))
        with _causes(self._config):
            await self._client.commit_block_list(
                self._blocks, content_settings=ContentSettings(content_type=self._media_type)
            )
        return f"{self._config.container}/{self._key}"

    async def abort(self) -> None:
        """Nothing: blocks cannot be removed one by one, and nobody sees them."""

    async def upload_block(self, block: bytes) -> None:
        """Upload one block."""
        number = len(self._blocks)
        if number == BLOCKS_MAX:
            raise DeliveryFailed(f"The file is larger than {BLOCK_BYTES * BLOCKS_MAX >> 30} GiB")
        block_id = base64.b64encode(f"{self._try}{number:08d}".encode()).decode()
        with _causes(self._config):
            await self._client.stage_block(block_id, io.BytesIO(block), length=len(block))
        self._blocks.append(BlobBlock(block_id))


@contextmanager
def _causes(config: AzureBlobConfig) -> Iterator[None]:
    """Raise `DeliveryFailed` for what the client raises."""
    try:
        yield
    except HttpResponseError as error:
        if error.status_code is None:
            # The body of the answer could not be read.
            raise DeliveryFailed(reason_of(error, "The account")) from None
        code = getattr(error, "error_code", None) or error.status_code
        cause = _CAUSES.get(str(getattr(code, "value", code)), "The account answered '{code}'")
        raise DeliveryFailed(
            cause.format(container=config.container, code=str(getattr(code, "value", code))[:100])
        ) from None
    except (AzureError, OSError, ValueError) as error:
        raise DeliveryFailed(reason_of(error, "The account")) from None
