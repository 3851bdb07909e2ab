"""What `destinationConfig` holds for each kind of destination (additions A14)."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from shared.http.bounds import AtMost
from shared.http.shapes import Shape

HEADERS_MAX: Final = 20
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e\t]*")
_OURS: Final = frozenset(
    {
        *("host", "connection", "content-length", "content-type", "content-encoding"),
        *("content-disposition", "transfer-encoding", "expect", "te", "trailer", "upgrade"),
        *("keep-alive", "idempotency-key"),
    }
)
"""Headers that say how the file is sent."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expects printable characters")
    return text


def _connection_string(text: str) -> str:
    blob_endpoint(text)
    return text


def _private_key(text: str) -> str:
    if not text.lstrip().startswith("-----BEGIN "):
        raise ValueError("expects a private key in PEM or OpenSSH format (-----BEGIN ...)")
    return text


def _public_key(text: str) -> str:
    parts = text.split()
    # `ssh-keyscan` and `known_hosts` have the host in front.
    kind = next((n for n, part in enumerate(parts) if part.startswith(("ssh-", "ecdsa-"))), None)
    if kind is None or len(parts) <= kind + 1 or "\n" in text.strip():
        raise ValueError("expects one public key (ssh-ed25519 AAAA...), as ssh-keyscan prints it")
    return " ".join(parts[kind : kind + 2])


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("is no name of a header of HTTP")
    if name.lower() in _OURS:
        raise ValueError("is set by Sigma PIM")
    return name


def _header_value(value: str) -> str:
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError("expects printable ASCII characters")
    return value


Printable = AfterValidator(_printable)
Path = Annotated[str, Field(max_length=900), Printable]


class _Config(Shape):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class S3Config(_Config):
    """A bucket of Amazon S3, or of a server that speaks its protocol."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """The name of the bucket."""
    path: Path
    """A folder, or a path with an extension, which is the file itself."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")]
    """Such as `eu-central-1`; what another server expects there."""
    endpoint: str | None = None
    """The URL of a server that is not Amazon's."""
    access_key_id: Annotated[
        str, Field(alias="accessKeyId", min_length=1, max_length=128), Printable
    ]
    """The name of the key."""
    secret_access_key: Annotated[
        str, Field(alias="secretAccessKey", min_length=1, max_length=256), Printable
    ]
    """The key."""


class SftpConfig(_Config):
    """A folder on a server that speaks SFTP."""

    host: Annotated[str, Field(min_length=1, max_length=253), Printable]
    """The name or address of the server."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 22
    """Its port."""
    username: Annotated[str, Field(min_length=1, max_length=255), Printable]
    """The name of the user there."""
    password: Annotated[str, Field(min_length=1, max_length=1_024)] | None = None
    """The password of the user; either this or `privateKey`."""
    private_key: Annotated[
        Annotated[str, Field(max_length=16_384), AfterValidator(_private_key)] | None,
        Field(alias="privateKey"),
    ] = None
    """A private key of the user without a passphrase; either this or `password`."""
    host_key: Annotated[str, Field(alias="hostKey", max_length=8_192), AfterValidator(_public_key)]
    """The public key of the server, as `ssh-keyscan` prints it. No other server gets the file."""
    path: Path
    """A folder that exists there, or a path with an extension, which is the file itself."""

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if (self.password is None) == (self.private_key is None):
            raise ValueError("expects either password or privateKey")
        return self


class AzureBlobConfig(_Config):
    """A container of Azure Blob Storage."""

    container: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")]
    """The name of the container."""
    path: Path
    """A folder, or a path with an extension, which is the file itself."""
    connection_string: Annotated[
        str,
        Field(alias="connectionString", max_length=4_096),
        AfterValidator(_connection_string),
    ]
    """The connection string of the storage account, with its key or a shared access signature."""


class WebhookConfig(_Config):
    """A URL that gets the file as the body of one POST."""

    url: str
    """Where the file is sent; any 2xx is success."""
    headers: Annotated[
        dict[
            Annotated[str, AfterValidator(_header_name)],
            Annotated[str, Field(max_length=4_096), AfterValidator(_header_value)],
        ],
        AtMost(HEADERS_MAX),
    ] = Field(default_factory=dict)
    """Further headers. Their values are secrets."""


def blob_endpoint(connection_string: str) -> str:
    """The URL of the blobs of a storage account.

    Raises `ValueError`, which quotes nothing of the string.
    """
    parts = [part.partition("=") for part in connection_string.strip().rstrip(";").split(";")]
    if any(not equals for _, equals, _ in parts):
        raise ValueError("expects pairs of Name=value, separated by semicolons")
    settings = {name.strip().lower(): value.strip() for name, _, value in parts}
    account, key = settings.get("accountname"), settings.get("accountkey")
    if "usedevelopmentstorage" in settings:
        raise ValueError("cannot be UseDevelopmentStorage: name account and endpoint")
    if not (account and key) and not settings.get("sharedaccesssignature"):
        raise ValueError("expects AccountName and AccountKey, or SharedAccessSignature")
    if key is not None:
        try:
            base64.b64decode(key, validate=True)
        except ValueError:
            raise ValueError("has an AccountKey that is not Base64") from None
    endpoint = settings.get("blobendpoint")
    if endpoint is None:
        if not account:
            raise ValueError("expects AccountName or BlobEndpoint")
        scheme = settings.get("defaultendpointsprotocol", "https")
        suffix = settings.get("endpointsuffix", "core.windows.net")
        endpoint = f"{scheme}://{account}.blob.{suffix}"
    return endpoint
