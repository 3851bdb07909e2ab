"""Uploads to a server that speaks SFTP.

The file is written under a name that begins with a dot, and renamed when it is whole. Each try of a
run has a name of its own: a process that comes back after another one has taken the run over must
not write into that one's file. A try removes what earlier ones have left, and nothing that is of
later ones.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import asyncssh
from asyncssh.public_key import get_default_public_key_algs

from shared.errors import truncated
from workflow_service.destinations.causes import reason_of
from workflow_service.destinations.model import DeliveryFailed, File, full_path
from workflow_service.destinations.shapes import SftpConfig
from workflow_service.outbound.client import Outbound

WRITE_BYTES: Final = 1 << 20
"""Written at once, in many requests that do not wait for each other."""
LOOKED_AT_MAX: Final = 10_000
"""Of the names in the folder; what is left in a fuller one stays there."""
LOGIN_TIMEOUT_S: Final = 20
KEEPALIVE_S: Final = 15
KEEPALIVES_MAX: Final = 3
"""So many unanswered ones end the connection."""


@asynccontextmanager
async def opened(config: SftpConfig, file: File, outbound: Outbound) -> AsyncIterator[SftpUpload]:
    """An upload of this file."""
    async with _client(config, outbound) as client:
        path = full_path(config.path, file.name)
        folder = posixpath.dirname(path)
        of_run = f".sigma-{file.run_id}-"
        hidden = posixpath.join(folder, f"{of_run}{file.attempt}-{secrets.token_hex(8)}.part")
        with _causes(path):
            await _remove_leftovers(client, folder, of_run, file.attempt)
            writing = await client.open(hidden, "xb")
        yield SftpUpload(client, writing, hidden, path)


async def try_out(config: SftpConfig, file: File, outbound: Outbound) -> None:
    """Make the hidden file, and remove it again."""
    async with opened(config, file, outbound) as upload:
        await upload.abort()


@asynccontextmanager
async def _client(config: SftpConfig, outbound: Outbound) -> AsyncIterator[asyncssh.SFTPClient]:
    """A client that trusts this host key only, and knows these credentials only."""
    trusted = asyncssh.import_public_key(config.host_key)
    connected = await outbound.socket(config.host, config.port)
    try:
        connection = await asyncssh.connect(
            config.host,
            config.port,
            sock=connected,
            config=None,
            known_hosts=([trusted], [], []),
            # The others as well, so that a server with a key of another kind is told by its key.
            server_host_key_algs=[
                name.decode() for name in (*trusted.sig_algorithms, *get_default_public_key_algs())
            ],
            username=config.username,
            password=config.password,
            client_keys=_keys(config),
            agent_path=None,
            gss_auth=False,
            gss_kex=False,
            gss_host=None,
            login_timeout=LOGIN_TIMEOUT_S,
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=KEEPALIVES_MAX,
        )
    except BaseException as error:
        connected.close()
        if isinstance(error, (asyncssh.Error, OSError, ValueError)):
            raise DeliveryFailed(_login_failure(error, config)) from None
        raise
    try:
        with _causes(config.path):
            # Names of other files in the folder may be in any encoding.
            client = await connection.start_sftp_client(path_errors="surrogateescape")
        yield client
    finally:
        connection.close()
        with suppress(OSError, asyncssh.Error):
            await connection.wait_closed()


async def _remove_leftovers(
    client: asyncssh.SFTPClient, folder: str, of_run: str, attempt: int
) -> None:
    looked_at = 0
    async for entry in client.scandir(folder or "."):
        name = str(entry.filename)
        tried = name.removeprefix(of_run).partition("-")[0]
        if name.startswith(of_run) and tried.isdecimal() and int(tried) <= attempt:
            with suppress(asyncssh.SFTPNoSuchFile):
                await client.remove(posixpath.join(folder, name))
        looked_at += 1
        if looked_at == LOOKED_AT_MAX:
            return


class SftpUpload:
    """A file that appears when it is renamed."""

    def __init__(
        self, client: asyncssh.SFTPClient, file: asyncssh.SFTPClientFile, hidden: str, path: str
    ) -> None:
        self._client = client
        self._file = file
        self._hidden = hidden
        self._path = path
        self._waiting = bytearray()

    async def write(self, data: bytes) -> None:
        """Write whenever enough has come."""
        self._waiting += data
        if len(self._waiting) >= WRITE_BYTES:
            await self._flush()

    async def commit(self) -> str:
        """Close the file and rename it; a file of this name is replaced."""
        await self._flush()
        with _causes(self._path):
            await self._file.close()
            try:
                await self._client.posix_rename(self._hidden, self._path)
            except asyncssh.SFTPOpUnsupported:
                # A server without this extension cannot replace a file by one step.
                with suppress(asyncssh.SFTPNoSuchFile):
                    await self._client.remove(self._path)
                await self._client.rename(self._hidden, self._path)
        return self._path

    async def abort(self) -> None:
        """Remove the hidden file."""
        with _causes(self._path):
            with suppress(asyncssh.SFTPError):
                await self._file.close()
            await self._client.remove(self._hidden)

    async def _flush(self) -> None:
        data = bytes(self._waiting)
        self._waiting.clear()
        with _causes(self._path):
            await self._file.write(data)


def _keys(config: SftpConfig) -> list[asyncssh.SSHKey] | None:
    return None if config.private_key is None else [asyncssh.import_private_key(config.private_key)]


def _login_failure(error: BaseException, config: SftpConfig) -> str:
    host = f"Host '{truncated(config.host)}'"
    given = "password" if config.private_key is None else "privateKey"
    match error:
        case asyncssh.HostKeyNotVerifiable():
            failure = f"{host} has another host key than 'hostKey'"
        case asyncssh.KeyExchangeFailed() if "host key" in str(error).lower():
            failure = f"{host} has another host key than 'hostKey'"
        case asyncssh.KeyExchangeFailed():
            failure = f"{host} offers no algorithm that is secure enough"
        case asyncssh.PermissionDenied():
            failure = (
                f"Access denied: {host} refuses '{given}' of user '{truncated(config.username)}'"
            )
        case asyncssh.DisconnectError() if "timeout" in str(error).lower():
            failure = f"{host} did not complete the login within {LOGIN_TIMEOUT_S} seconds"
        case asyncssh.Error():
            failure = f"{host} ended the connection, or does not speak SSH"
        case _:
            failure = reason_of(error, host)
    return failure


@contextmanager
def _causes(path: str) -> Iterator[None]:
    """Raise `DeliveryFailed` for what the server or the client raises."""
    try:
        yield
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory):
        raise DeliveryFailed(
            f"Folder '{truncated(posixpath.dirname(path) or '.')}' not found"
        ) from None
    except (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect):
        raise DeliveryFailed(f"Access to '{truncated(path)}' denied") from None
    except (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded):
        raise DeliveryFailed("The server has no space left") from None
    except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError):
        raise DeliveryFailed("The server ended the connection") from None
    except asyncssh.ChannelOpenError:
        raise DeliveryFailed("The server does not offer SFTP to this user") from None
    except asyncssh.Error:
        raise DeliveryFailed(
            f"The server refused to write '{truncated(path)}': it may be a folder, or have no"
            " space left"
        ) from None
    except OSError as error:
        raise DeliveryFailed(reason_of(error, "The server")) from None
