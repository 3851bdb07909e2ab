"""What the relay reads from the outbox and deletes from it.

A read takes the oldest events by id, a batch of them, and returns those of one subject in the order
of their versions. In a full batch, a subject may have an earlier version beyond it, whose id came
from another range of the sequence: then the earliest versions of the subject take its places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Final

from shared.database import Conn, Record
from shared.messaging.outbox_floor import Floor

BATCH_SIZE: Final = 500
READ_BYTES_MAX: Final = 1 << 20
"""A limit on the stored size of the documents, which is known without fetching them.

`BATCH_SIZE` rows that need no more than the 2 KiB a row may have in the table fit. Larger documents
are compressed, at most to a 255th (LZ4): what is read has at most 255 MiB, and mostly far less.
"""
ANY: Final = "true"
"""The condition that every event meets."""
CUT_SUBJECTS_MAX: Final = 8
"""For each of them, up to `READ_BYTES_MAX` are read again. More wait for the next batch."""
SESSION: Final = {"enable_hashjoin": "off", "enable_mergejoin": "off", "enable_seqscan": "off"}
"""Settings of the connection: it finds rows by index, and never reads all.

The session keeps its plans, and makes most of them when the outbox is empty: to read the whole
table is the best then. A minute later it may have 50,000 rows.
"""


def _version_of(row: str) -> str:
    """SQL: the version of a row; that of one without is in its document."""
    return f"""
    CASE WHEN {row}.version > 0 THEN {row}.version
         ELSE coalesce(({row}.document #>> '{{data,version}}')::bigint, 0) END"""


_VERSION: Final = _version_of("outbox")


_FIELDS: Final = f"""id, workspace_id, type, subject, event_id, document, {_VERSION} AS version,
                      pg_column_size(document) AS bytes"""
_DOCUMENT: Final = """CASE WHEN bytes_so_far <= $1 OR bytes_so_far = bytes THEN document::text END
                      AS document"""


@cache
def _oldest(publishable: str) -> str:
    """SQL: the oldest rows behind $3 that may be published, as much as fits into $1 bytes."""
    return f"""
    SELECT id, workspace_id, type, subject, event_id, version, {_DOCUMENT}
      FROM (SELECT *, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS bytes_so_far
              FROM (SELECT {_FIELDS} FROM outbox WHERE id > $3 AND {publishable}
                     ORDER BY id LIMIT $2) AS chosen) AS summed
     ORDER BY id
    """  # noqa: S608 - constants of the code


def _placed(chosen: str) -> str:
    """SQL: `chosen` (conditions, order and limit) of the outbox, as much as fits into $1 bytes.

    A row's place is the lowest id among the versions of its subject from its own on: no version has
    a place before that of an earlier one.
    """
    return f"""
        SELECT id, workspace_id, type, subject, event_id, version, {_DOCUMENT}
          FROM (SELECT *, sum(bytes) OVER (ORDER BY place, version, id ROWS UNBOUNDED PRECEDING)
                       AS bytes_so_far
                  FROM (SELECT *, min(id) OVER (PARTITION BY workspace_id, subject
                                                    ORDER BY version DESC, id DESC) AS place
                          FROM (SELECT {_FIELDS} FROM outbox {chosen}) AS chosen) AS placed)
               AS summed
         ORDER BY place, version, id
        """  # noqa: S608 - constants of this module


@cache
def _oldest_placed(publishable: str) -> str:
    return _placed(f"WHERE id > $3 AND {publishable} ORDER BY id LIMIT $2")


@cache
def _earliest_of_subject(publishable: str) -> str:
    return _placed(
        f"WHERE workspace_id = $3 AND subject = $4 AND {publishable} ORDER BY {_VERSION}, id"
        " LIMIT $2"
    )


async def read(
    conn: Conn, publishable: str = ANY, floor: Floor | None = None
) -> tuple[list[Record], bool]:
    """Unpublished events, as many as fit into the memory limit, and whether more wait.

    Only those that meet `publishable`, a condition in SQL on rows of the outbox. With a floor, they
    are looked for behind it.

    The first is read whatever its size. The document of a deferred event is not fetched from
    PostgreSQL's storage of large values.
    """
    behind = 0 if floor is None else await floor.raised(conn)
    rows = await conn.fetch(_oldest(publishable), READ_BYTES_MAX, BATCH_SIZE, behind)
    if floor is not None and rows:
        floor.found(rows[0]["id"])
    if not _in_order(rows):
        # Placing sorts by subject. Where one node draws the ids, it is never needed.
        rows = await conn.fetch(_oldest_placed(publishable), READ_BYTES_MAX, BATCH_SIZE, behind)
    is_full = len(rows) == BATCH_SIZE
    if is_full:
        rows = await _with_earlier_versions(conn, rows, publishable)
    fitting = [row for row in rows if row["document"] is not None]
    return fitting, is_full or len(fitting) < len(rows)


async def _with_earlier_versions(
    conn: Conn, rows: list[Record], publishable: str = ANY
) -> list[Record]:
    """The rows, with the earliest versions of subjects that the end of the batch has cut."""
    last = {(row["workspace_id"], row["subject"]): row["version"] for row in rows}
    cut = await conn.fetch(
        f"""
        SELECT read.workspace_id, read.subject
          FROM unnest($1::text[], $2::text[], $3::bigint[])
               AS read (workspace_id, subject, version)
         -- LIMIT and "+ 0": otherwise the plan of an empty outbox, which the session keeps,
         -- compares all that comes after the batch with each subject.
         CROSS JOIN LATERAL (
               SELECT 1 FROM outbox later
                WHERE later.workspace_id = read.workspace_id AND later.subject = read.subject
                  AND later.version < read.version
                  AND later.id + 0 > $4 AND {_version_of("later")} < read.version
                LIMIT 1) AS earlier
        """,  # noqa: S608 - constants of this module
        [workspace_id for workspace_id, _ in last],
        [subject for _, subject in last],
        list(last.values()),
        max(row["id"] for row in rows),
    )
    if not cut:
        return rows
    subjects = {(row["workspace_id"], row["subject"]) for row in cut}
    places = Counter((row["workspace_id"], row["subject"]) for row in rows)
    whole = [row for row in rows if (row["workspace_id"], row["subject"]) not in subjects]
    for workspace_id, subject in sorted(subjects)[:CUT_SUBJECTS_MAX]:
        whole += await conn.fetch(
            _earliest_of_subject(publishable),
            READ_BYTES_MAX,
            places[workspace_id, subject],
            workspace_id,
            subject,
        )
    return whole


def _in_order(rows: Sequence[Record]) -> bool:
    """Whether the versions of each subject ascend."""
    last: dict[tuple[str, str], int] = {}
    for row in rows:
        subject, version = (row["workspace_id"], row["subject"]), row["version"]
        if version < last.get(subject, 0):
            return False
        last[subject] = version
    return True


async def delete(conn: Conn, ids: Sequence[int]) -> None:
    """Delete what the broker has confirmed."""
    # Without the workspaces, which Citus would like: a planner without statistics takes them for a
    # reason to read all that the outbox has of them, in its primary key (500 of 200,000: 58 ms
    # instead of 10).
    await conn.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", ids)
