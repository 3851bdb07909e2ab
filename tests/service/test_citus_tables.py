"""What Citus asks of the tables, checked in the migrated databases of plain PostgreSQL.

A tenant table is distributed by `workspace_id`: rows of one workspace are on one node, and no key,
foreign key or trigger may need another node.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.citus.tables import ON_CITUS, ON_ONE_MACHINE, Tables
from deploy.schema import SERVICES
from tests.kit.servers import Servers

NAME_BYTES_MAX = 50
"""The number of a shard is appended; Citus replaces a part of longer names with a hash."""

TABLES = """
    SELECT c.relname AS name, c.oid
      FROM pg_class c
     WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
       AND NOT c.relispartition
"""
"""A partition is as its table, and distributed with it."""
DISTRIBUTION_COLUMN = """
    SELECT a.atttypid = 'text'::regtype AND a.attnotnull
      FROM pg_attribute a
     WHERE a.attrelid = $1 AND a.attname = 'workspace_id'
"""
UNIQUE_INDEXES = """
    SELECT i.indexrelid::regclass::text AS name,
           ARRAY(SELECT a.attname
                   FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS key (number, place)
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.number
                  WHERE key.place <= i.indnkeyatts)::text[] AS columns
      FROM pg_index i
     WHERE i.indrelid = $1 AND (i.indisunique OR i.indisexclusion)
"""
CONSTRAINTS = """
    SELECT k.conname::text AS name, k.contype::text AS type, f.relname::text AS leads_to,
           ARRAY(SELECT own.attname || ' -> ' || other.attname
                   FROM unnest(k.conkey, k.confkey) AS pair (own, other)
                   JOIN pg_attribute own ON own.attrelid = k.conrelid AND own.attnum = pair.own
                   JOIN pg_attribute other
                     ON other.attrelid = k.confrelid AND other.attnum = pair.other) AS pairs
      FROM pg_constraint k
      LEFT JOIN pg_class f ON f.oid = k.confrelid
     WHERE k.conrelid = $1 AND k.contype IN ('c', 'f', 'p', 'u', 'x')
"""
SEQUENCES = """
    SELECT a.attname::text AS name
      FROM pg_attribute a
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = $1
       AND (a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%')
"""
TRIGGERS = "SELECT tgname::text FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal"


async def faults_of(conn: asyncpg.Connection, tables: Tables) -> list[str]:
    """What Citus would refuse or do wrong, a sentence each."""
    present = {row["name"]: row["oid"] for row in await conn.fetch(TABLES)}
    listed = [*tables.tenant, *tables.local]
    faults = [f"{name}: in neither list" for name in present.keys() - set(listed)]
    faults += [f"{name}: does not exist" for name in listed if name not in present]
    faults += [f"{name}: in both lists" for name in set(tables.tenant) & set(tables.local)]
    triggers = dict(tables.triggers)
    distributed: set[str] = set()
    for name in tables.tenant:
        distributed.add(name)
        if name in present:
            faults += [
                f"{name}: {fault}"
                for fault in await _table_faults(
                    conn,
                    present[name],
                    distributed,
                    tables.numbered.get(name),
                    triggers.pop(name, ()),
                )
            ]
    return faults + [f"{name}: no trigger to drop" for name in triggers]


async def _table_faults(
    conn: asyncpg.Connection,
    oid: int,
    distributed: set[str],
    numbered: str | None,
    triggers: tuple[str, ...],
) -> list[str]:
    faults: list[str] = []
    if not await conn.fetchval(DISTRIBUTION_COLUMN, oid):
        faults.append("needs a column workspace_id text NOT NULL")
    faults += [
        f"unique index {index['name']} lacks workspace_id"
        for index in await conn.fetch(UNIQUE_INDEXES, oid)
        if "workspace_id" not in index["columns"]
    ]
    for constraint in await conn.fetch(CONSTRAINTS, oid):
        if len(constraint["name"].encode()) >= NAME_BYTES_MAX:
            faults.append(f"the name {constraint['name']} is too long")
        if constraint["type"] == "f":
            if "workspace_id -> workspace_id" not in constraint["pairs"]:
                faults.append(f"foreign key {constraint['name']} lacks workspace_id")
            if constraint["leads_to"] not in distributed:
                faults.append(
                    f"foreign key {constraint['name']} leads to {constraint['leads_to']},"
                    " which is not distributed before"
                )
    faults += [
        f"a sequence gives {row['name']} its values"
        for row in await conn.fetch(SEQUENCES, oid)
        if row["name"] != numbered
    ]
    found = {row["tgname"] for row in await conn.fetch(TRIGGERS, oid)}
    faults += [f"trigger {one} is not in the list" for one in found - set(triggers)]
    faults += [f"trigger {one} does not exist" for one in set(triggers) - found]
    return faults


def test_each_service_with_a_database_is_on_citus_or_on_one_machine():
    assert sorted([*ON_CITUS, *ON_ONE_MACHINE]) == sorted(SERVICES)


@pytest.mark.parametrize("service", ON_CITUS)
async def test_the_tables_can_be_distributed(servers: Servers, service: str):
    url = await servers.postgres.new_database(service)
    conn = await asyncpg.connect(url)
    assert await faults_of(conn, ON_CITUS[service]) == []
    await conn.close()
    await servers.postgres.drop_database(url)


@pytest.fixture
async def small(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Three tables without a fault, in which faults are planted."""
    conn = await asyncpg.connect(database_url)
    await conn.execute("""
        CREATE TABLE owners (
            workspace_id text NOT NULL, id text NOT NULL, name text,
            CONSTRAINT owners_id_taken PRIMARY KEY (workspace_id, id));
        CREATE TABLE things (
            workspace_id text NOT NULL, id text NOT NULL, owner_id text,
            PRIMARY KEY (workspace_id, id),
            FOREIGN KEY (workspace_id, owner_id) REFERENCES owners (workspace_id, id));
        CREATE TABLE inbox (id text PRIMARY KEY);
    """)
    yield conn
    await conn.close()


SMALL = Tables(tenant=("owners", "things"), local=("inbox",))


async def test_sound_tables_have_no_fault(small: asyncpg.Connection):
    assert await faults_of(small, SMALL) == []


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        ("CREATE TABLE more (workspace_id text NOT NULL)", "more: in neither list"),
        ("DROP TABLE things", "things: does not exist"),
        (
            (
                "ALTER TABLE things DROP CONSTRAINT things_pkey;"
                " ALTER TABLE things ALTER workspace_id DROP NOT NULL"
            ),
            "things: needs a column workspace_id text NOT NULL",
        ),
        (
            (
                "ALTER TABLE things DROP CONSTRAINT things_workspace_id_owner_id_fkey;"
                " ALTER TABLE things ALTER workspace_id TYPE varchar(40)"
            ),
            "things: needs a column workspace_id text NOT NULL",
        ),
        (
            "DROP TABLE things; CREATE TABLE things (id text)",
            "things: needs a column workspace_id text NOT NULL",
        ),
        (
            "ALTER TABLE things DROP CONSTRAINT things_pkey, ADD PRIMARY KEY (id)",
            "things: unique index things_pkey lacks workspace_id",
        ),
        (
            "ALTER TABLE owners ADD CONSTRAINT name_taken UNIQUE (name)",
            "owners: unique index name_taken lacks workspace_id",
        ),
        (
            "CREATE UNIQUE INDEX name_taken ON owners (lower(name)) INCLUDE (workspace_id)",
            "owners: unique index name_taken lacks workspace_id",
        ),
        (
            "ALTER TABLE owners ADD CONSTRAINT name_taken EXCLUDE USING btree (name WITH =)",
            "owners: unique index name_taken lacks workspace_id",
        ),
        (
            (
                "ALTER TABLE things ADD CONSTRAINT not_in_the_same_place"
                " FOREIGN KEY (owner_id, workspace_id) REFERENCES owners (workspace_id, id)"
            ),
            "things: foreign key not_in_the_same_place lacks workspace_id",
        ),
        (
            (
                "ALTER TABLE things ADD CONSTRAINT to_a_local_table"
                " FOREIGN KEY (id) REFERENCES inbox (id)"
            ),
            "things: foreign key to_a_local_table leads to inbox, which is not distributed before",
        ),
        (
            (
                "ALTER TABLE owners ADD CONSTRAINT too_early"
                " FOREIGN KEY (workspace_id, name) REFERENCES things (workspace_id, id)"
            ),
            "owners: foreign key too_early leads to things, which is not distributed before",
        ),
        (
            f"ALTER TABLE owners ADD CONSTRAINT {'x' * 50} CHECK (name <> '')",
            f"owners: the name {'x' * 50} is too long",
        ),
        (
            "ALTER TABLE things ADD COLUMN place bigint GENERATED ALWAYS AS IDENTITY",
            "things: a sequence gives place its values",
        ),
        (
            "ALTER TABLE owners ADD COLUMN place bigserial",
            "owners: a sequence gives place its values",
        ),
        (
            (
                "CREATE TRIGGER noisy AFTER UPDATE ON things FOR EACH ROW"
                " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
            ),
            "things: trigger noisy is not in the list",
        ),
    ],
)
async def test_a_planted_fault_is_found(small: asyncpg.Connection, planted: str, fault: str):
    await small.execute(planted)
    assert fault in await faults_of(small, SMALL)


async def test_lists_that_say_too_much_are_found(small: asyncpg.Connection):
    tables = Tables(
        tenant=("owners", "things", "inbox"),
        local=("inbox",),
        triggers={"things": ("noisy",), "gone": ("noisy",)},
    )
    found = await faults_of(small, tables)
    assert "inbox: in both lists" in found
    assert "things: trigger noisy does not exist" in found
    assert "gone: no trigger to drop" in found
