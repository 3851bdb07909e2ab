"""The file of an exported workspace: a ZIP with a manifest and a member for each table.

    manifest.json                    format, version, workspace, the revision of each database, and
                                     of each member its columns, rows and SHA-256
    records_service/records.tsv      rows as PostgreSQL's COPY writes them as text, by primary key

Both are written and read in pieces, so memory does not depend on the size. The checksums show that
a file is damaged or was changed by mistake; they do not show who made it: import files of those
whom you trust, as you would a dump.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from deploy.workspaces.databases import Failed
from deploy.workspaces.tables import TABLES
from shared.ids import is_id

FORMAT: Final = "sigma-pim workspace"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 1 << 20
PIECE_BYTES: Final = 1 << 18
LINE_BYTES_MAX: Final = 1 << 30
"""More than PostgreSQL takes for a row."""


@dataclass(frozen=True, slots=True)
class Member:
    """The rows of one table; the first of its columns is `workspace_id`."""

    columns: tuple[str, ...]
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a file has; `members` are by service and table."""

    workspace_id: str
    revisions: Mapping[str, str]
    members: Mapping[tuple[str, str], Member]
    exported_at: str

    def as_json(self) -> bytes:
        """The content of `MANIFEST`."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "workspaceId": self.workspace_id,
                "exportedAt": self.exported_at,
                "revisions": dict(self.revisions),
                "members": {
                    member_name(*place): asdict(member) for place, member in self.members.items()
                },
            },
            indent=1,
        ).encode()


def member_name(service: str, table: str) -> str:
    """The name of a table's member."""
    return f"{service}/{table}.tsv"


class Writing:
    """Writes the member of one table; `write` takes pieces of any size."""

    def __init__(self, archive: zipfile.ZipFile, service: str, table: str) -> None:
        self._file = archive.open(member_name(service, table), "w", force_zip64=True)
        self._hash = hashlib.sha256()
        self._rows = 0

    async def write(self, piece: bytes) -> None:
        """As asyncpg wants the output of COPY."""
        self._file.write(piece)
        self._hash.update(piece)
        self._rows += piece.count(b"\n")

    def finish(self, columns: list[str]) -> Member:
        """What the manifest says of it."""
        self._file.close()
        return Member(tuple(columns), self._rows, self._hash.hexdigest())


class Archive:
    """A file that is read. Raises `Failed` for one that is not a whole export."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise Failed(f"{path} cannot be read: {error.strerror}") from error
        except zipfile.BadZipFile as error:
            raise Failed(f"{path} is not a whole export: it is cut off, or no ZIP file") from error
        self.path = path
        self.manifest = self._manifest()

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    @property
    def digest(self) -> str:
        """What tells this export from every other: the hash of its manifest."""
        return hashlib.sha256(self.manifest.as_json()).hexdigest()

    def verify(self) -> None:
        """Read all of it once, and compare it with its manifest."""
        expected = {MANIFEST} | {member_name(*place) for place in self.manifest.members}
        found = self._zip.namelist()
        if len(found) != len(set(found)) or set(found) != expected:
            odd = sorted(set(found) ^ expected) or sorted(found)
            raise Failed(f"{self.path} does not have the members of its manifest: {odd[0]}")
        for (service, table), member in self.manifest.members.items():
            seen, rows = hashlib.sha256(), 0
            for piece in self.pieces(service, table):
                seen.update(piece)
                rows += piece.count(b"\n")
            if seen.hexdigest() != member.sha256 or rows != member.rows:
                raise self._damaged(service, table, "its content is not that of the export")

    def pieces(self, service: str, table: str) -> Iterator[bytes]:
        """The rows of a table, in pieces of whole lines, each of this workspace.

        Raises `Failed` for a row of another one.
        """
        begin = self.manifest.workspace_id.encode() + b"\t"
        rest = b""
        try:
            with self._zip.open(member_name(service, table)) as file:
                while piece := file.read(PIECE_BYTES):
                    head, newline, tail = piece.rpartition(b"\n")
                    if not newline:
                        rest += piece
                        if len(rest) > LINE_BYTES_MAX:
                            raise self._damaged(service, table, "a row is too long")
                        continue
                    whole = rest + head + newline
                    # COPY writes it as \\r. It would take one for the end of a row: one that does
                    # not show whose it is.
                    if b"\r" in whole:
                        raise self._damaged(service, table, "a row has a carriage return")
                    rest = tail
                    lines = whole.count(b"\n")
                    if not whole.startswith(begin) or whole.count(b"\n" + begin) != lines - 1:
                        raise self._damaged(service, table, "a row is of another workspace")
                    yield whole
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
            raise self._damaged(service, table, str(error)) from error
        if rest:
            raise self._damaged(service, table, "its last row is cut off")

    def _damaged(self, service: str, table: str, why: str) -> Failed:
        return Failed(f"{self.path} is damaged: {member_name(service, table)}: {why}")

    def _manifest(self) -> Manifest:
        try:
            with self._zip.open(MANIFEST) as file:
                text = file.read(MANIFEST_BYTES_MAX + 1)
            if len(text) > MANIFEST_BYTES_MAX:
                raise ValueError("it is too large")
            return _parsed(json.loads(text))
        except (
            *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RecursionError),
            *(KeyError, TypeError, ValueError, AttributeError),
        ) as error:
            raise Failed(
                f"{self.path} is not an export of a workspace: {MANIFEST}: {error}"
            ) from error


def _parsed(sent: Any) -> Manifest:
    if sent["format"] != FORMAT:
        raise ValueError(f"expected the format '{FORMAT}', got {sent['format']!r:.80}")
    if sent["version"] != VERSION:
        raise ValueError(f"expected version {VERSION}, got {sent['version']!r:.80}")
    if not is_id(sent["workspaceId"]):
        raise ValueError("'workspaceId' is not an id")
    places = {
        member_name(service, table.name): (service, table.name)
        for service, tables in TABLES.items()
        for table in tables
        if table.exported_where is not None
    }
    members: dict[tuple[str, str], Member] = {}
    for name, member in sent["members"].items():
        if name not in places:
            raise ValueError(f"no table of this version is '{name:.80}'")
        if member["columns"][:1] != ["workspace_id"]:
            raise ValueError(f"the first column of '{name}' is not workspace_id")
        members[places[name]] = Member(
            tuple(map(str, member["columns"])), int(member["rows"]), str(member["sha256"])
        )
    revisions = {str(service): str(of) for service, of in sent["revisions"].items()}
    return Manifest(sent["workspaceId"], revisions, members, str(sent["exportedAt"]))
