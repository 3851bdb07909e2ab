"""A table is written by one room: only its SQL inserts, updates or deletes rows of it.

So what a write of a record leaves behind, its history, its unique keys and its event, is decided
in one place. Migrations change all tables, and the tables of the shelf (outbox, inbox, news, sizes)
are written where their effect is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVICES = ("auth_service", "records_service", "workflow_service")
OF_THE_SHELF = {"outbox", "inbox", "news", "sizes", "idempotency_keys", "alembic_version"}
NAMED_BY_CODE = {"model_objects", "search_scores", "secrets", "leases.py"}
"""Where code puts in the names of tables: of the room itself; of those that keep secrets, which are
sealed anew; and of the rooms that make a `LeasedTable`, which counts as theirs."""
WRITES = re.compile(
    r"\b(?:INSERT\s+INTO|(?<!FOR )(?<!DO )UPDATE|DELETE\s+FROM)\s+([A-Za-z_]\w*|\{\w+\S*\})"
)


def written_tables(source: str) -> Iterator[str]:
    """The tables that the SQL in this source writes; a name put in by code stays in braces."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from WRITES.findall(node.value)
        elif isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{name}"
                for part in node.values
            )
            yield from WRITES.findall(text)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "LeasedTable":
            yield ast.literal_eval(node.args[0])


@pytest.mark.parametrize("service", SERVICES)
def test_a_table_is_written_by_one_room(service: str):
    writers: dict[str, set[str]] = {}
    for path in sorted((ROOT / service).rglob("*.py")):
        room = path.relative_to(ROOT / service).parts[0]
        if room == "migrations":
            continue
        for table in written_tables(path.read_text()):
            if table == "{name}":
                assert room in NAMED_BY_CODE
            elif table.lower() == table and table not in OF_THE_SHELF:
                writers.setdefault(table, set()).add(room)
    assert {table: rooms for table, rooms in writers.items() if len(rooms) > 1} == {}


def test_what_writes_is_found():
    assert list(
        written_tables(
            'A = "INSERT INTO a (x) SELECT 1 ON CONFLICT DO UPDATE SET x = 2"\n'
            'B = "WITH old AS (SELECT x FROM b FOR UPDATE) UPDATE c SET x = 1"\n'
            'D = f"DELETE FROM {table} WHERE x"\n'
            'E = LeasedTable("e", of="a")'
        )
    ) == ["a", "c", "{name}", "e"]
