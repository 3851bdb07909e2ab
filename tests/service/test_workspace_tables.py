"""The list of a workspace's tables, compared with the migrated databases: none can be forgotten."""

from __future__ import annotations

import asyncpg
import pytest

from deploy.citus.tables import ON_CITUS
from deploy.schema import SERVICES
from deploy.workspaces.tables import OPENED_LAST, TABLES, WITHOUT_WORKSPACE, WORKFLOW, Moves, Table
from tests.kit.servers import Servers
from workflow_service.secrets.columns import COLUMNS

WITH_WORKSPACE = """
    SELECT c.relname::text AS name,
           EXISTS (SELECT FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attname = 'workspace_id'
                      AND NOT a.attisdropped) AS has_workspace
      FROM pg_class c
     WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
       AND NOT c.relispartition
"""
REFERENCES = """
    SELECT conrelid::regclass::text AS table, confrelid::regclass::text AS leads_to
      FROM pg_constraint WHERE contype = 'f' AND conrelid <> confrelid AND conparentid = 0
"""
NUMBERED = """
    SELECT c.relname::text AS table, a.attname::text AS column
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
     WHERE a.attidentity <> '' AND NOT c.relispartition
       AND c.relnamespace = 'public'::regnamespace
"""
SECRET_NAMES = """
    SELECT c.relname || '.' || a.attname AS name
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
     WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0
       AND a.attname ~ 'secret|sealed|password|token|key_hash|credential'
"""


def faults_of(
    service: str,
    tables: tuple[Table, ...],
    present: dict[str, bool],
    references: list[tuple[str, str]],
    numbered: set[tuple[str, str]],
) -> list[str]:
    """What the list has wrong, a sentence each."""
    places = {table.name: place for place, table in enumerate(tables)}
    elsewhere = set(WITHOUT_WORKSPACE[service])
    faults = [f"{name} is listed twice" for name in places.keys() & elsewhere]
    faults += [f"{name} is not listed" for name in present.keys() - places.keys() - elsewhere]
    faults += [f"{name} does not exist" for name in (places.keys() | elsewhere) - present.keys()]
    faults += [
        f"{name}: a column workspace_id is {'there' if has else 'not there'}"
        for name, has in present.items()
        if has != (name in places) and name in places.keys() | elsewhere
    ]
    faults += [
        f"{table} comes before {leads_to}, to which it refers"
        for table, leads_to in references
        if places.get(table, 0) < places.get(leads_to, 0)
    ]
    listed = {(table.name, table.numbered) for table in tables if table.numbered}
    return faults + [f"{table}.{column} draws numbers" for table, column in listed ^ numbered]


async def looked_up(
    conn: asyncpg.Connection,
) -> tuple[dict[str, bool], list[tuple[str, str]], set[tuple[str, str]]]:
    present = {row["name"]: row["has_workspace"] for row in await conn.fetch(WITH_WORKSPACE)}
    references = [(row["table"], row["leads_to"]) for row in await conn.fetch(REFERENCES)]
    numbered = {(row["table"], row["column"]) for row in await conn.fetch(NUMBERED)}
    return present, references, numbered


@pytest.mark.parametrize("service", SERVICES)
async def test_every_table_is_in_the_list(servers: Servers, service: str):
    url = await servers.postgres.new_database(service)
    conn = await asyncpg.connect(url)
    found = await looked_up(conn)
    assert faults_of(service, TABLES[service], *found) == []
    secret = {row["name"] for row in await conn.fetch(SECRET_NAMES)}
    secret |= {f"{c.table}.{c.column}" for c in COLUMNS if service == WORKFLOW}
    shown = [
        name
        for name in sorted(secret)
        for table in TABLES[service]
        if name.startswith(f"{table.name}.")
        and table.exported_where is not None
        and name.partition(".")[2] not in table.exported_as
    ]
    assert shown == [], "a secret would be in an export"
    # What is forgotten is found.
    await conn.execute(
        "CREATE TABLE forgotten (workspace_id text, id bigint GENERATED ALWAYS AS IDENTITY)"
    )
    assert sorted(faults_of(service, TABLES[service], *await looked_up(conn))) == [
        "forgotten is not listed",
        "forgotten.id draws numbers",
    ]
    await conn.close()
    await servers.postgres.drop_database(url)


def test_the_list_is_that_of_citus():
    assert sorted(TABLES) == sorted(OPENED_LAST) == sorted(SERVICES)
    for service, tables in ON_CITUS.items():
        assert {table.name for table in TABLES[service]} == set(tables.tenant)


def test_what_makes_workers_act_is_moved_at_the_end():
    for tables in TABLES.values():
        for table in tables:
            assert table.work_where is None or table.moves is Moves.AT_THE_END, table.name
