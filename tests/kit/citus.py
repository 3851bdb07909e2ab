"""Errors of PostgreSQL as Citus passes them on from its workers.

Citus sends the SQLSTATE, the message and the detail, and none of the fields with names. The message
names the shard of the table and of the constraint: `records_id_taken_102052`. A CHECK keeps its
name. An error that a trigger raises is left as it is: distributed tables have no triggers.
"""

from __future__ import annotations

from typing import Any

import pytest
from asyncpg.exceptions import PostgresError

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
