"""A database as it would be on Citus, and errors as Citus passes them on from its workers.

Citus sends the SQLSTATE, the message and the detail, and none of the fields with names. The message
names the shard of the table and of the constraint: `records_id_taken_102052`. A CHECK keeps its
name. An error that a trigger raises is left as it is: distributed tables have no triggers.
"""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from asyncpg.exceptions import PostgresError

from deploy.citus.tables import ON_CITUS

SHARD = "102052"
NAMES = {"s": "schema", "t": "table", "c": "column", "d": "type", "n": "constraint"}
"""The fields of an error in the protocol of PostgreSQL that Citus does not pass on."""
INTEGRITY_VIOLATIONS = "23"
CHECK_VIOLATION = "23514"


def as_from_a_worker(fields: dict[str, str]) -> dict[str, str]:
    """The fields of an error, as the coordinator sends them on."""
    message, constraint = fields["M"], fields.get("n")
    raised = constraint is not None and f'"{constraint}"' not in message
    if raised or not fields["C"].startswith(INTEGRITY_VIOLATIONS):
        return fields
    if "t" in fields:
        message = message.replace(f'"{fields["t"]}"', f'"{fields["t"]}_{SHARD}"')
    if constraint is not None and fields["C"] != CHECK_VIOLATION:
        message = message.replace(f'"{constraint}"', f'"{constraint}_{SHARD}"')
    return {key: value for key, value in fields.items() if key not in NAMES} | {"M": message}


def patch_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let asyncpg make errors as if a Citus worker had raised them."""
    make = PostgresError.new

    def new(fields: dict[str, str], query: Any = None) -> PostgresError:
        return make(as_from_a_worker(fields), query)

    monkeypatch.setattr(PostgresError, "new", staticmethod(new))


async def drop_triggers(service: str, database_url: str) -> None:
    """Drop what is dropped before the tables of this service are distributed."""
    if service in ON_CITUS:
        conn = await asyncpg.connect(database_url)
        try:
            for table, triggers in ON_CITUS[service].triggers.items():
                for trigger in triggers:
                    await conn.execute(f"DROP TRIGGER {trigger} ON {table}")
        finally:
            await conn.close()
