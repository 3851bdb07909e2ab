"""Uploads to Amazon S3, and to servers that speak its protocol.

The file is one multipart upload, which is an object only when it is completed; a small file is one
request. Parts of an upload that a killed process left are removed when its run starts anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from workflow_service.destinations.answers import BoundedResponse
from workflow_service.destinations.causes import reason_of
from workflow_service.destinations.model import DeliveryFailed, File, cut, key_of
from workflow_service.destinations.shapes import S3Config
from workflow_service.outbound.client import Outbound

PART_BYTES: Final = 8 << 20
"""Ten thousand parts are allowed: a file has 78 GiB at most."""
PARTS_MAX: Final = 10_000
CONNECT_TIMEOUT_S: Final = 10
READ_TIMEOUT_S: Final = 60
ATTEMPTS: Final = 3
_SETTINGS: Final = {
    "profile": (None, None, None, None),
    "config_file": (None, None, "/dev/null", None),
    "credentials_file": (None, None, "/dev/null", None),
    "ca_bundle": (None, None, None, None),
}
"""Instead of those that Amazon's tools find in files and in the environment."""
_CAUSES: Final = {
    "NoSuchBucket": "Bucket '{bucket}' not found",
    "AccessDenied": "Access to bucket '{bucket}' denied",
    "AllAccessDisabled": "Access to bucket '{bucket}' denied",
    # Also a success that cannot be read: the library takes it for this.
    "500": "The server failed, or its answer cannot be read",
    "403": "Access to bucket '{bucket}' denied",
    "InvalidAccessKeyId": "Access denied: the server does not know this 'accessKeyId'",
    "SignatureDoesNotMatch": "Access denied: 'secretAccessKey' is not the key of 'accessKeyId'",
    "RequestTimeTooSkewed": "Access denied: the clocks of both sides differ",
    "PermanentRedirect": "Bucket '{bucket}' is in another region than '{region}'",
    "AuthorizationHeaderMalformed": "Bucket '{bucket}' is in another region than '{region}'",
    "IllegalLocationConstraintException": "Bucket '{bucket}' is in another region than '{region}'",
}


@asynccontextmanager
async def opened(config: S3Config, file: File, outbound: Outbound) -> AsyncIterator[S3Upload]:
    """An upload of this file."""
    async with _client(config, outbound) as client:
        yield S3Upload(client, config, key_of(config.path, file.name), file.media_type)


async def try_out(config: S3Config, file: File, outbound: Outbound) -> None:
    """Begin an upload, which needs the right to write, and abort it."""
    async with opened(config, file, outbound) as upload:
        await upload.begin()
        await upload.abort()


@asynccontextmanager
async def _client(config: S3Config, outbound: Outbound) -> AsyncIterator[Any]:
    """A client that knows these credentials only, and connects as `Outbound` allows."""
    made = AioSession(session_vars=_SETTINGS)
    host = urlsplit(config.endpoint).hostname if config.endpoint else None
    if host is not None:
        # The client would try again what is refused each time it connects.
        await outbound.resolve(host, 0)
    settings = AioConfig(
        connector_args={
            "resolver": outbound.resolver,
            "socket_factory": outbound.socket_factory_for(host or ""),
            "use_dns_cache": False,
        },
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        # Amazon finds a bucket by its host name; other servers may have no name for each bucket.
        s3={"addressing_style": "path" if config.endpoint else "virtual"},
        signature_version="s3v4",
        # Other servers may not know the checksums that Amazon's has.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        proxies={},
        ignore_configured_endpoint_urls=True,
        http_session_cls=_Session,
    )
    async with made.create_client(
        "s3",
        region_name=config.region,
        endpoint_url=config.endpoint,
        aws_access_key_id=config.access_key_id,
        aws_secret_access_key=config.secret_access_key,
        config=settings,
        verify=True,
    ) as client:
        client.meta.events.register_last("before-parameter-build.s3", _stays_in_region)
        yield client


def _stays_in_region(context: dict[str, Any], **_: Any) -> None:
    """Let no answer lead to another region.

    To find it the client asks for the bucket, again and again if that is answered by a redirect.
    """
    context["s3_redirect"]["redirected"] = True


class _Session(AIOHTTPSession):  # type: ignore[misc]  # the library has no types
    """Follows no redirects, which S3 does not have, and bounds answers."""

    async def _get_session(self, proxy_url: str | None) -> _Requests:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        session._response_class = BoundedResponse  # noqa: SLF001 - the library makes the session
        return _Requests(session)


class _Requests:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, **options: Any) -> aiohttp.ClientResponse:
        return await self._session.request(method, **options, allow_redirects=False)


class S3Upload:
    """An object that appears when it is completed."""

    def __init__(self, client: Any, config: S3Config, key: str, media_type: str) -> None:
        self._client = client
        self._config = config
        self._at = {"Bucket": config.bucket, "Key": key}
        self._media_type = media_type
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._waiting = bytearray()

    async def begin(self) -> None:
        """Open the upload of parts; what an earlier try has left of this file is removed."""
        with _causes(self._config):
            await self._remove_leftovers()
            begun = await self._client.create_multipart_upload(
                **self._at, ContentType=self._media_type
            )
            self._upload_id = _said(begun, "UploadId")

    async def write(self, data: bytes) -> None:
        """Upload a part whenever enough has come for it."""
        self._waiting += data
        while len(self._waiting) >= PART_BYTES:
            if self._upload_id is None:
                await self.begin()
            await self._upload(cut(self._waiting, PART_BYTES))

    async def commit(self) -> str:
        """Complete the upload."""
        if self._upload_id is not None:
            if self._waiting:
                await self._upload(bytes(self._waiting))
            with _causes(self._config):
                answer = await self._client.complete_multipart_upload(
                    **self._at, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
                )
        else:
            with _causes(self._config):
                answer = await self._client.put_object(
                    **self._at, Body=bytes(self._waiting), ContentType=self._media_type
                )
        _said(answer, "ETag")
        return f"s3://{self._at['Bucket']}/{self._at['Key']}"

    async def abort(self) -> None:
        """Remove the parts."""
        if self._upload_id is not None:
            with _causes(self._config):
                await self._client.abort_multipart_upload(**self._at, UploadId=self._upload_id)

    async def _upload(self, part: bytes) -> None:
        number = len(self._parts) + 1
        if number > PARTS_MAX:
            limit = PART_BYTES * PARTS_MAX >> 30
            raise DeliveryFailed(f"The file is larger than {limit} GiB")
        with _causes(self._config):
            answer = await self._client.upload_part(
                **self._at, UploadId=self._upload_id, PartNumber=number, Body=part
            )
        self._parts.append({"PartNumber": number, "ETag": _said(answer, "ETag")})

    async def _remove_leftovers(self) -> None:
        # Not every server or key allows it. A rule of the bucket for unfinished uploads does, too.
        with suppress(ClientError):
            found = await self._client.list_multipart_uploads(
                Bucket=self._at["Bucket"], Prefix=self._at["Key"]
            )
            for left in found.get("Uploads", ()):
                if left.get("Key") == self._at["Key"] and left.get("UploadId"):
                    await self._client.abort_multipart_upload(**self._at, UploadId=left["UploadId"])


def _said(answer: Mapping[str, Any], name: str) -> str:
    """What a success has to say, and what no other server says by chance."""
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise DeliveryFailed(f"The server answered without '{name}': it does not speak S3")
    return value


@contextmanager
def _causes(config: S3Config) -> Iterator[None]:
    """Raise `DeliveryFailed` for what the client raises."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "no code"))
        cause = _CAUSES.get(code, "The server answered '{code}'")
        raise DeliveryFailed(
            cause.format(bucket=config.bucket, region=config.region, code=code[:100])
        ) from None
    except (ConnectTimeoutError, ReadTimeoutError):
        raise DeliveryFailed(f"The server did not answer within {READ_TIMEOUT_S} seconds") from None
    except ResponseParserError:
        raise DeliveryFailed("The server's answer cannot be read: it does not speak S3") from None
    except (BotoCoreError, HTTPClientError, OSError, ValueError) as error:
        raise DeliveryFailed(reason_of(error, "The server")) from None
