"""Which incarnation of its data a database is: a new one begins when it is restored (ADR 100).

A database that is set back uses numbers again that it has given before: versions, and positions
that it counts. Whoever remembers them must not take the new ones for the old. So a database says
where it lives: which server, which database in it, and on which timeline of PostgreSQL. A backup
that is restored is somewhere else, by whatever way it came there. Then processes are not ready
until `python -m shared.database.restored <service>` has begun a new incarnation.

A standby that is promoted is on a new timeline as well. It goes on with the data, so a process that
was there before says so, and nobody else has to do anything.

That process knows the difference, because every process leaves beats: every now and then it adds
one to a number of the incarnation, and remembers the last that was committed. A database that does
not have that beat was set back under the process: from a backup, by a standby that had not
everything, or by a volume that was rolled back in place. A failover that has lost nothing has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from shared.database.connection import Conn

SCHEMA: Final = """
CREATE TABLE incarnations (
    number   bigint      NOT NULL PRIMARY KEY,
    place    text        NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now()
)
"""
"""For a migration. The highest number counts: 0, and then the second in which one has begun. A
counter would not do: the same backup may be restored twice."""
VERSIONS: Final = ("ALTER TABLE incarnations ADD COLUMN beats bigint NOT NULL DEFAULT 0",)
"""What came later, for one migration each."""

_HERE: Final = """
    concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
              (SELECT oid FROM pg_database WHERE datname = current_database()),
              left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))"""
_READ: Final = f"""
    SELECT number, place, begun_at, beats, {_HERE} AS here
      FROM incarnations
     ORDER BY number DESC
     LIMIT 1"""  # noqa: S608 - a constant


Beat: TypeAlias = tuple[int, int]
"""The number of an incarnation, and of a beat in it."""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """Its number, where it is known to live (server/database/timeline), and where it is found.

    `beats` are those that processes have left in it.
    """

    number: int
    place: str
    begun_at: datetime
    beats: int
    here: str

    @property
    def is_known(self) -> bool:
        """Whether it lives where it is found."""
        return self.place == self.here

    def was_set_back(self, last_beat: Beat | None) -> bool:
        """Whether it does not have a beat that was committed."""
        return last_beat is not None and (self.number, self.beats) < last_beat

    def complaint(self, service: str, last_beat: Beat | None = None) -> str | None:
        """Why this may be a restored copy that nobody has told of; None where it is not."""
        command = f"python -m shared.database.restored {service}"
        if self.was_set_back(last_beat):
            return (
                f"the database was set back while processes of {service} ran: it lacks what had"
                f" been committed. Stop all of them and run {command}"
            )
        if self.is_known:
            return None
        if self._data_of(self.place) == self._data_of(self.here):
            return (
                "the database went on from another timeline while no process of"
                f" {service} ran. If it was restored to an earlier moment, stop all processes and"
                f" run {command}; if a standby was promoted that had everything, add --nothing-lost"
            )
        return (
            f"the database is a restored or copied one: stop all processes of {service} and run"
            f" {command}; if it was moved or upgraded and has everything, add --nothing-lost"
        )

    def goes_on(self, lived_at: str | None) -> bool:
        """Whether a server was promoted under a process that knew it at `lived_at`."""
        return lived_at == self.place and self._data_of(self.place) == self._data_of(self.here)

    @staticmethod
    def _data_of(place: str) -> str:
        return place.rpartition("/")[0]


async def look(
    conn: Conn, lived_at: str | None = None, last_beat: Beat | None = None
) -> Incarnation:
    """Which incarnation this is. The first who looks settles where the database lives.

    `lived_at` is where this process has found it before, `last_beat` its last that was committed.
    """
    row = await conn.fetchrow(_READ)
    if row is None:
        await conn.execute(
            f"INSERT INTO incarnations (number, place) SELECT 0, {_HERE} ON CONFLICT DO NOTHING"
        )
        row = await conn.fetchrow(_READ)
        assert row is not None
    found = Incarnation(**row)
    if not found.is_known and found.goes_on(lived_at) and not found.was_set_back(last_beat):
        return await settle(conn)
    return found


async def beat(conn: Conn) -> Beat | None:
    """Leave one more beat, which is committed when this returns.

    None where the database is not where it was known to live: it belongs to nobody yet. Not inside
    a transaction: a beat that is seen before its commit has reached the standby would be
    missed after a failover that has lost nothing.
    """
    row = await conn.fetchrow(
        f"""
        UPDATE incarnations SET beats = beats + 1
         WHERE number = (SELECT max(number) FROM incarnations) AND place = {_HERE}
        RETURNING number, beats
        """  # noqa: S608 - a constant
    )
    return None if row is None else (row["number"], row["beats"])


async def settle(conn: Conn) -> Incarnation:
    """The same incarnation lives here from now on."""
    await conn.execute(
        f"""
        UPDATE incarnations SET place = {_HERE}
         WHERE number = (SELECT max(number) FROM incarnations)
        """  # noqa: S608 - a constant
    )
    row = await conn.fetchrow(_READ)
    assert row is not None
    return Incarnation(**row)


async def begin(conn: Conn) -> Incarnation:
    """A new incarnation begins here, in the transaction of the caller."""
    await conn.execute(
        f"""
        INSERT INTO incarnations (number, place)
        SELECT greatest(extract(epoch FROM clock_timestamp())::bigint, max(number) + 1), {_HERE}
          FROM incarnations
        """  # noqa: S608 - a constant
    )
    row = await conn.fetchrow(_READ)
    assert row is not None
    return Incarnation(**row)
