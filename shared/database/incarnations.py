"""Which incarnation of its data a database is: a new one begins when it is restored (ADR 100).

A database that is set back uses numbers again that it has given before: versions, and positions
that it counts. Whoever remembers them must not take the new ones for the old. So a database says
where it lives: which server, which database in it, and on which timeline of PostgreSQL. A backup
that is restored is somewhere else, by whatever way it came there. Then processes are not ready
until `python -m shared.database.restored <service>` has begun a new incarnation.

A standby that is promoted is on a new timeline as well. It goes on with the data, so a process that
was there before says so, and nobody else has to do anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

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

_HERE: Final = """
    concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
              (SELECT oid FROM pg_database WHERE datname = current_database()),
              left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))"""
_READ: Final = f"""
    SELECT number, place, begun_at, {_HERE} AS here
      FROM incarnations
     ORDER BY number DESC
     LIMIT 1"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class Incarnation:
    """Its number, where it is known to live (server/database/timeline), and where it is found."""

    number: int
    place: str
    begun_at: datetime
    here: str

    @property
    def is_known(self) -> bool:
        """Whether it lives where it is found."""
        return self.place == self.here

    def complaint(self, service: str) -> str | None:
        """Why this may be a restored copy that nobody has told of; None where it is not."""
        if self.is_known:
            return None
        command = f"python -m shared.database.restored {service}"
        if self._data_of(self.place) == self._data_of(self.here):
            return (
                "the database went on from another timeline while no process of"
                f" {service} ran. If it was restored to an earlier moment, stop all processes and"
                f" run {command}; if a standby was promoted that had everything, add --nothing-lost"
            )
        return (
            f"the database is a restored or copied one: stop all processes of {service} and run"
            f" {command}"
        )

    def goes_on(self, lived_at: str | None) -> bool:
        """Whether a server was promoted under a process that knew it at `lived_at`."""
        return lived_at == self.place and self._data_of(self.place) == self._data_of(self.here)

    @staticmethod
    def _data_of(place: str) -> str:
        return place.rpartition("/")[0]


async def look(conn: Conn, lived_at: str | None = None) -> Incarnation:
    """Which incarnation this is. The first who looks settles where the database lives.

    `lived_at` is where this process has found it before.
    """
    row = await conn.fetchrow(_READ)
    if row is None:
        await conn.execute(
            f"INSERT INTO incarnations (number, place) SELECT 0, {_HERE} ON CONFLICT DO NOTHING"
        )
        row = await conn.fetchrow(_READ)
        assert row is not None
    found = Incarnation(**row)
    if not found.is_known and found.goes_on(lived_at):
        return await settle(conn)
    return found


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
