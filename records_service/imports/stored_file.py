"""A stored file as something that can be read in a thread, without a copy of it on disk."""

from __future__ import annotations

import asyncio
import io
from typing import IO, Final, cast

from records_service.imports import store
from records_service.imports.store import AS_SENT, CHUNK_BYTES
from records_service.tabular.sheet_texts import UnusableFile
from shared.database import Database, unbound
from shared.errors import ServiceUnavailable

FETCH_TIMEOUT_S: Final = 20.0
READ_BYTES_MAX: Final = 2 << 20


class _StoredFile(io.RawIOBase):
    """Reads piece by piece over connections of its own; one piece is held."""

    def __init__(self, db: Database, workspace_id: str, import_id: str, size: int) -> None:
        super().__init__()
        self._db = db
        self._key = workspace_id, import_id
        self._size = size
        self._at = 0
        self._loop = asyncio.get_running_loop()
        self._number = -1
        self._piece = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        number, start = divmod(self._at, CHUNK_BYTES)
        if self._at >= self._size:
            return 0
        if number != self._number:
            fetching = asyncio.run_coroutine_threadsafe(self._fetch(number), self._loop)
            try:
                self._piece = fetching.result(FETCH_TIMEOUT_S)
            except TimeoutError:
                # Not an error of the file, which readers take any `OSError` for.
                raise ServiceUnavailable from None
            self._number = number
        data = self._piece[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    async def _fetch(self, number: int) -> bytes:
        # What a request has received is stored before its transaction, which others may hold.
        with unbound():
            lease = self._db.acquire()
        async with lease as conn:
            return await store.read(conn, *self._key, AS_SENT, number * CHUNK_BYTES, CHUNK_BYTES)


class _Bounded(io.BufferedReader):
    """Refuses to be read at one go: the list of parts of an archive says itself how long it is."""

    def __init__(self, file: _StoredFile, size: int) -> None:
        super().__init__(file)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._size - self.tell() if size is None or size < 0 else size
        if wanted > READ_BYTES_MAX:
            raise UnusableFile(f"The list of its parts has more than {READ_BYTES_MAX} bytes")
        return super().read(size)


def stored_file(db: Database, workspace_id: str, import_id: str, size: int) -> IO[bytes]:
    """The file of an import, of so many bytes; to be read in a thread, never in the loop.

    Reading more than `READ_BYTES_MAX` at a time raises `UnusableFile`.
    """
    return cast(IO[bytes], _Bounded(_StoredFile(db, workspace_id, import_id, size), size))
