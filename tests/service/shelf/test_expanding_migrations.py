"""Old code works on the schema of the next version: migrations expand, they do not take away.

During a rollout the previous version serves on the migrated database. What can be read from the
catalogue is checked here for each revision: the tables, columns and rules that statements of the
version before rely on. What a statement means is checked by `make rolling ARGS="--from ..."`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from deploy.local.settings import DATABASES
from shared.database.migrations import folder_of, upgrade
from tests.kit.servers import Servers

EXCEPTIONS: dict[tuple[str, str], frozenset[str]] = dict.fromkeys(
    [("auth_service", "0008"), ("records_service", "0013"), ("workflow_service", "0004")],
    # The wider key takes every row that the former one took, and no ON CONFLICT refers to either.
    frozenset(
        {
            "outbox: new rule PRIMARY KEY (workspace_id, subject, version, id)",
            "outbox: rule gone PRIMARY KEY (workspace_id, id)",
        }
    ),
)
_BODY_KEY = (
    "UNIQUE btree (workspace_id, ((body ->> 'externalKey'::text)))"
    " WHERE ((body ->> 'externalKey'::text) IS NOT NULL)"
)
# Code of the version before stores no external keys, so it never meets these rules.
EXCEPTIONS |= {
    ("records_service", "0015"): frozenset(
        {
            (
                "option_values: new rule UNIQUE btree (workspace_id, list_id, external_key)"
                " WHERE (external_key IS NOT NULL)"
            ),
            *(
                f"{kind}: new rule {_BODY_KEY}"
                for kind in ("dimensions", "option_lists", "attributes", "schemas")
            ),
        }
    ),
    ("records_service", "0016"): frozenset(
        {
            (
                "records: new rule UNIQUE btree (workspace_id, external_key)"
                " WHERE (external_key IS NOT NULL)"
            )
        }
    ),
    # A new year that is more than a year away, and whose entries belong to another partition then.
    ("records_service", "0047"): frozenset(
        {
            "audit: new rule CHECK ((at < 'a new year'::timestamp with time zone))",
            "audit: new rule UNIQUE btree (workspace_id, id, at)",
        }
    ),
    # Ids come from a sequence alone, and no ON CONFLICT refers to either key.
    ("records_service", "0048"): frozenset(
        {
            "audit: rule gone CHECK ((at < 'a new year'::timestamp with time zone))",
            "audit: new rule PRIMARY KEY (workspace_id, id, at)",
            "audit: rule gone PRIMARY KEY (workspace_id, id)",
            "audit: rule gone UNIQUE btree (workspace_id, id)",
            "audit: rule gone UNIQUE btree (workspace_id, id, at)",
        }
    ),
    ("workflow_service", "0005"): frozenset({f"workflows: new rule {_BODY_KEY}"}),
}
"""(service, revision) -> what does not disturb the code of the version before, and why."""

COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.atthasdef OR a.attidentity <> ''
  FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
   AND a.attnum > 0 AND NOT a.attisdropped AND c.relname <> 'alembic_version'
"""
# By definition and not by name. A rule is what refuses rows, and what ON CONFLICT refers to.
RULES = r"""
SELECT c.relname,
       regexp_replace(pg_get_constraintdef(r.oid), '\d{4}-01-01 00:00:00\+00', 'a new year')
  FROM pg_constraint r
  JOIN pg_class c ON c.oid = r.conrelid
 WHERE c.relnamespace = 'public'::regnamespace AND r.contype IN ('c', 'f', 'p', 'u', 'x')
   AND c.relname <> 'alembic_version'
 UNION
SELECT c.relname, regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING ', 'UNIQUE ')
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indrelid
 WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique
   AND NOT EXISTS (SELECT FROM pg_constraint r WHERE r.conindid = i.indexrelid)
   AND c.relname <> 'alembic_version'
"""


@dataclass(frozen=True)
class Column:
    kind: str
    not_null: bool
    filled: bool
    """Whether PostgreSQL fills it when an INSERT leaves it out."""


@dataclass(frozen=True)
class Schema:
    columns: Mapping[tuple[str, str], Column]
    rules: frozenset[tuple[str, str]]

    @property
    def tables(self) -> set[str]:
        return {table for table, _ in self.columns}


def schema_of(conn: psycopg.Connection[Any]) -> Schema:
    columns = {(t, c): Column(*rest) for t, c, *rest in conn.execute(COLUMNS).fetchall()}
    return Schema(columns, frozenset(tuple(row) for row in conn.execute(RULES).fetchall()))


def findings(before: Schema, after: Schema) -> list[str]:
    """What statements that were written for `before` can stumble over in `after`."""
    found = []
    for (table, name), old in before.columns.items():
        new = after.columns.get((table, name))
        if new is None:
            found.append(f"{table}.{name} is gone")
        elif new.kind != old.kind:
            found.append(f"{table}.{name} was {old.kind}, is {new.kind}")
        elif new.not_null and not old.not_null:
            found.append(f"{table}.{name} became NOT NULL")
        elif old.filled and new.not_null and not new.filled:
            found.append(f"{table}.{name} has no default any more")
    for (table, name), new in after.columns.items():
        added = table in before.tables and (table, name) not in before.columns
        if added and new.not_null and not new.filled:
            found.append(f"{table}.{name} is new and NOT NULL, without a default")
    kept = before.tables & after.tables
    found += [f"{table}: new rule {rule}" for table, rule in after.rules - before.rules]
    found += [f"{table}: rule gone {rule}" for table, rule in before.rules - after.rules]
    return sorted(one for one in found if one.partition(".")[0].partition(":")[0] in kept) + [
        f"{table} is gone" for table in sorted(before.tables - after.tables)
    ]


def oldest_code(service: str, revision: str) -> str | None:
    (file,) = (folder_of(service) / "versions").glob(f"{revision}_*.py")
    spec = importlib.util.spec_from_file_location(f"revision_{service}_{revision}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, "oldest_code", None)


@pytest.mark.parametrize("service", DATABASES)
async def test_the_version_before_works_on_the_schema_of_each_revision(
    servers: Servers, service: str
):
    url = await servers.postgres.empty_database(service)
    schemas: dict[str, Schema] = {}
    with psycopg.connect(url, autocommit=True) as conn:
        # It is told of each revision before it runs, when the one before is committed.
        upgrade(service, url, lambda said: schemas.update({said.split()[0]: schema_of(conn)}))
        schemas["now"] = schema_of(conn)
    del schemas["at"]
    revisions = list(schemas)
    assert revisions[0] == "0001"
    assert len(schemas[revisions[0]].columns) == 0
    assert len(schemas["now"].columns) > 10
    wrong = []
    for revision, following in pairwise(revisions):
        if oldest_code(service, revision) is not None:
            # Then processes of the version before are not ready on it.
            continue
        wrong += [
            f"{service} {revision}: {finding}"
            for finding in findings(schemas[revision], schemas[following])
            if finding not in EXCEPTIONS.get((service, revision), ())
        ]
    await servers.postgres.drop_database(url)
    assert wrong == [], (
        "see docs/how-to/add-a-migration.md: expand first, remove in a later version"
    )


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("ALTER TABLE things DROP COLUMN note", "things.note is gone"),
        ("ALTER TABLE things RENAME note TO text", "things.note is gone"),
        ("ALTER TABLE things RENAME TO objects", "things is gone"),
        ("DROP TABLE things", "things is gone"),
        ("ALTER TABLE things ALTER note TYPE varchar(9)", "was text, is character varying(9)"),
        ("ALTER TABLE things ALTER note SET NOT NULL", "things.note became NOT NULL"),
        ("ALTER TABLE things ALTER size DROP DEFAULT", "things.size has no default any more"),
        ("ALTER TABLE things ADD more int NOT NULL", "things.more is new and NOT NULL"),
        ("ALTER TABLE things ADD CHECK (size > 0)", "things: new rule CHECK"),
        ("CREATE UNIQUE INDEX ON things (note)", "things: new rule UNIQUE btree (note)"),
        ("ALTER TABLE things DROP CONSTRAINT things_pkey", "things: rule gone PRIMARY KEY"),
        ("ALTER TABLE things ADD more int", None),
        ("ALTER TABLE things ADD more int NOT NULL DEFAULT 0", None),
        ("ALTER TABLE things ADD more int GENERATED ALWAYS AS (size + 1) STORED NOT NULL", None),
        ("CREATE INDEX ON things (note)", None),
        ("CREATE TABLE others (id text PRIMARY KEY, more int NOT NULL CHECK (more > 0))", None),
    ],
)
async def test_what_takes_away_is_found(servers: Servers, statement: str, finding: str | None):
    url = await servers.postgres.new_database("workflow_service")
    with psycopg.connect(url) as conn:
        conn.execute(
            "CREATE TABLE things (id text PRIMARY KEY, note text, size int NOT NULL DEFAULT 1)"
        )
        before = schema_of(conn)
        conn.execute(statement.encode())
        found = findings(before, schema_of(conn))
        conn.rollback()
    await servers.postgres.drop_database(url)
    if finding is None:
        assert found == []
    else:
        assert any(finding in one for one in found), found
