"""What a destination is: a place to which a file is uploaded, and where it appears when whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

_HAS_EXTENSION: Final = re.compile(r"[^/]\.[^/.]+\Z")


class DeliveryFailed(Exception):
    """The file did not get to its destination; the message says why and holds no secret."""


@dataclass(frozen=True, slots=True)
class File:
    """The file of one run."""

    name: str
    """Its name in a folder, such as `products-20260204T173000Z.csv.gz`."""
    run_id: str
    """The same when a run that was killed starts anew: what it left is then removed."""
    attempt: int
    """Counted; what a later one has made is left alone."""
    media_type: str


class Upload(Protocol):
    """A file on its way. Nobody sees it before it is committed.

    All methods raise `DeliveryFailed`.
    """

    async def write(self, data: bytes) -> None:
        """Append to the file."""
        ...

    async def commit(self) -> str:
        """Let the whole file appear; where it is."""
        ...

    async def abort(self) -> None:
        """Remove what has been uploaded, as far as the destination can be reached."""
        ...


def cut(waiting: bytearray, size: int) -> bytes:
    """Take so many bytes from the beginning, with one copy of them."""
    with memoryview(waiting) as view, view[:size] as beginning:
        part = bytes(beginning)
    del waiting[:size]
    return part


def full_path(path: str, name: str) -> str:
    """Where the file goes: a path that ends in an extension names it, any other is a folder."""
    if _HAS_EXTENSION.search(path):
        return path
    return f"{path.rstrip('/')}/{name}" if path.strip("/") else f"{'/' if path else ''}{name}"


def key_of(path: str, name: str) -> str:
    """As `full_path`, in a store of objects, whose keys do not begin with a slash."""
    return full_path(path, name).lstrip("/")
