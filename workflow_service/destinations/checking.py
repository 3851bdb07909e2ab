"""Checks the configuration of a destination when it is saved, and knows its secrets."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

import pydantic
from pydantic import BaseModel, create_model

from shared.errors import ValidationError
from shared.http.messages import refusal
from shared.process.offload import in_thread
from workflow_service.destinations.shapes import (
    AzureBlobConfig,
    S3Config,
    SftpConfig,
    WebhookConfig,
    blob_endpoint,
)
from workflow_service.outbound.client import Outbound

FIELD: Final = "destinationConfig"
S3: Final = "s3"
AZURE_BLOB: Final = "azure-blob"
SFTP: Final = "sftp"
WEBHOOK: Final = "webhook"
SHAPES: Final[Mapping[str, type[BaseModel]]] = {
    S3: S3Config,
    AZURE_BLOB: AzureBlobConfig,
    SFTP: SftpConfig,
    WEBHOOK: WebhookConfig,
}
KINDS: Final = tuple(SHAPES)
LIBRARIES: Final[Mapping[str, str]] = {
    S3: "aiobotocore",
    AZURE_BLOB: "azure.storage.blob",
    SFTP: "asyncssh",
}
"""What is imported only where a destination needs it: an installation may do without."""
_SECRETS: Final[Mapping[str, tuple[str, ...]]] = {
    S3: ("secretAccessKey",),
    AZURE_BLOB: ("connectionString",),
    SFTP: ("password", "privateKey"),
    WEBHOOK: (),
}
_HEADERS: Final = "headers"
_READ: Final[Mapping[str, type[BaseModel]]] = {
    kind: create_model(f"{shape.__name__}Field", **{FIELD: (shape, ...)})  # type: ignore[call-overload]
    for kind, shape in SHAPES.items()
}
"""Each shape under the name of the field, which the messages name."""


async def check(kind: str, config: Any, outbound: Outbound) -> dict[str, Any]:
    """The configuration as it is kept.

    Raises `ValidationError` for everything that is wrong with it, also for an address that no
    request may go to, and for a kind whose library is not installed.
    """
    check_installed(kind)
    sent = {FIELD: config}
    try:
        read = getattr(_READ[kind].model_validate(sent, strict=True), FIELD)
    except pydantic.ValidationError as error:
        raise refusal(error, sent) from None
    match read:
        case S3Config(endpoint=str(endpoint)):
            await outbound.check_url(endpoint, f"{FIELD}.endpoint")
        case AzureBlobConfig():
            await _check_account(read, outbound)
        case SftpConfig():
            await outbound.check_host(read.host, f"{FIELD}.host")
            await _check_keys(read)
        case WebhookConfig():
            await outbound.check_url(read.url, f"{FIELD}.url")
    kept: dict[str, Any] = read.model_dump(by_alias=True, exclude_none=True)
    return kept


def check_installed(kind: str) -> None:
    """Raise `ValidationError` if this installation lacks the library of a kind."""
    library = LIBRARIES.get(kind)
    if library is not None and not _is_installed(library):
        library = library.replace(".", "-")
        raise ValidationError.at(
            "/destinationType",
            f"Field 'destinationType' cannot be '{kind}' on this server: the Python package"
            f" '{library}' is not installed",
        )


def secret_places(kind: str, config: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The paths of all secrets of a configuration, such as `("headers", "X-Token")`."""
    places: list[tuple[str, ...]] = [(name,) for name in _SECRETS[kind] if name in config]
    if kind == WEBHOOK:
        places += [(_HEADERS, name) for name in config.get(_HEADERS, ())]
    return places


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:
        return False


async def _check_account(config: AzureBlobConfig, outbound: Outbound) -> None:
    field = f"{FIELD}.connectionString"
    endpoint = blob_endpoint(config.connection_string)
    if urlsplit(endpoint).scheme not in ("http", "https"):
        # The message of `check_url` quotes the URL, and what stands there may be a secret.
        raise ValidationError.at(
            f"/{FIELD}/connectionString", f"Field '{field}' expects an http or https endpoint"
        )
    await outbound.check_url(endpoint, field)
    blob = await in_thread(import_module, LIBRARIES[AZURE_BLOB])
    try:
        blob.BlobClient.from_connection_string(config.connection_string, config.container, "name")
    except ValueError:
        raise ValidationError.at(
            f"/{FIELD}/connectionString",
            f"Field '{field}' expects a valid AccountKey or SharedAccessSignature",
        ) from None


async def _check_keys(config: SftpConfig) -> None:
    asyncssh = await in_thread(import_module, LIBRARIES[SFTP])
    try:
        asyncssh.import_public_key(config.host_key)
    except (asyncssh.KeyImportError, ValueError):
        raise ValidationError.at(
            f"/{FIELD}/hostKey",
            f"Field '{FIELD}.hostKey' expects one public key (ssh-ed25519 AAAA...), as ssh-keyscan"
            " prints it",
        ) from None
    if config.private_key is None:
        return
    try:
        asyncssh.import_private_key(config.private_key)
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError, ValueError) as error:
        reason = "expects a private key in PEM or OpenSSH format, got one that is broken"
        if "passphrase" in str(error).lower():
            reason = "expects a private key without a passphrase"
        raise ValidationError.at(
            f"/{FIELD}/privateKey", f"Field '{FIELD}.privateKey' {reason}"
        ) from None
