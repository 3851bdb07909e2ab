"""Opens an upload of any kind, and ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from importlib import import_module
from typing import Any, Final, Protocol, cast

import structlog

from shared.errors import ValidationError
from shared.process.offload import in_thread
from workflow_service.destinations.checking import (
    AZURE_BLOB,
    S3,
    SFTP,
    SHAPES,
    WEBHOOK,
    check_installed,
)
from workflow_service.destinations.model import DeliveryFailed, File, Upload
from workflow_service.outbound.addresses import OutboundFailed
from workflow_service.outbound.client import Outbound

ABORT_TIMEOUT_S: Final = 20
STEP_S_MAX: Final = 240.0
"""For connecting, one piece of the file, or its end. The clients know shorter times, but none for a
server that takes a byte now and then, or only keeps the connection."""
_MODULES: Final = {
    S3: "workflow_service.destinations.s3",
    AZURE_BLOB: "workflow_service.destinations.azure_blob",
    SFTP: "workflow_service.destinations.sftp",
    WEBHOOK: "workflow_service.destinations.webhook",
}
_TRIED: Final = "connection-test"


log = structlog.get_logger(__name__)


class _Destination(Protocol):
    def opened(
        self, config: Any, file: File, outbound: Outbound
    ) -> AbstractAsyncContextManager[Upload]: ...

    async def try_out(self, config: Any, file: File, outbound: Outbound) -> None: ...


@asynccontextmanager
async def opened(
    kind: str, config: Mapping[str, Any], file: File, outbound: Outbound
) -> AsyncIterator[Upload]:
    """An upload of this file, aborted unless it is committed.

    `config` is what `check` has answered, with its secrets. Raises `DeliveryFailed`.
    """
    destination = await _destination(kind)
    try:
        async with AsyncExitStack() as stack:
            opening = destination.opened(_read(kind, config), file, outbound)
            async with _in_time():
                upload = await stack.enter_async_context(opening)
            ending = _Ending(upload)
            try:
                yield ending
            finally:
                await ending.close()
    except OutboundFailed as error:
        raise DeliveryFailed(str(error)) from None


async def try_connection(kind: str, config: Mapping[str, Any], outbound: Outbound) -> None:
    """Ask the destination whether it takes files, without leaving one there.

    Raises `DeliveryFailed`.
    """
    destination = await _destination(kind)
    file = File(_TRIED, _TRIED, 1, "text/plain")
    try:
        async with _in_time():
            await destination.try_out(_read(kind, config), file, outbound)
    except OutboundFailed as error:
        raise DeliveryFailed(str(error)) from None


class _Ending:
    """An upload that knows whether it was committed."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._committed = False

    async def write(self, data: bytes) -> None:
        async with _in_time():
            await self._upload.write(data)

    async def commit(self) -> str:
        async with _in_time():
            path = await self._upload.commit()
        self._committed = True
        return path

    async def abort(self) -> None:
        await self._upload.abort()

    async def close(self) -> None:
        """Abort, as far as possible: what keeps the upload from its end may keep it from this."""
        if not self._committed:
            with suppress(Exception):
                async with asyncio.timeout(ABORT_TIMEOUT_S):
                    await self._upload.abort()


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Raise `DeliveryFailed` if the other side takes too long for this step, or is a riddle."""
    limit = asyncio.timeout(STEP_S_MAX)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeliveryFailed(f"The destination did not go on for {STEP_S_MAX:g} seconds") from None
    except (DeliveryFailed, OutboundFailed):
        raise
    except Exception:
        # A library may raise anything while it reads what a strange server answers.
        log.exception("destination_not_understood")
        raise DeliveryFailed("What the destination answered was not understood") from None


async def _destination(kind: str) -> _Destination:
    try:
        check_installed(kind)
    except ValidationError as error:
        raise DeliveryFailed(error.message) from None
    # A library takes up to a second to import.
    module = await in_thread(import_module, _MODULES[kind])
    return cast(_Destination, module)


def _read(kind: str, config: Mapping[str, Any]) -> Any:
    return SHAPES[kind].model_validate(dict(config))
