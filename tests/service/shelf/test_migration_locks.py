"""A revision locks one table that is in use at a time.

Requests lock tables in an order of their own. A transaction that keeps one table from being written
and then waits for another deadlocks with each request that has locked the other already.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping

import psycopg
import pytest
from alembic import op

from deploy.local.settings import DATABASES
from shared.database import migrations

LAST_FROM_BEFORE = {"auth_service": "0007", "records_service": "0012", "workflow_service": "0003"}
"""The revisions that were applied before this was checked."""

TABLES = """
SELECT oid FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
"""
LOCKED = """
SELECT DISTINCT t.oid, t.relname
  FROM pg_locks l
  JOIN pg_class c ON c.oid = l.relation
  LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
  JOIN pg_class t ON t.oid = coalesce(i.inhparent, c.oid)
 WHERE l.pid = pg_backend_pid() AND c.relnamespace = 'public'::regnamespace
   AND c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version'
   AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""


# A partition counts as its table: everybody locks that before its partitions.


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, set[str]]:
    """Revision -> the tables from before it that it kept from being written."""
    found: dict[str, set[str]] = defaultdict(set)
    before: dict[str, set[int]] = {}
    run_sql = migrations.run_sql

    def watched(sql: str) -> None:
        revision = sys._getframe(1).f_globals.get("revision", "")
        driver = op.get_bind().connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        if revision not in before:
            before[revision] = {oid for (oid,) in driver.execute(TABLES).fetchall()}
        run_sql(sql)
        found[revision] |= {
            name for oid, name in driver.execute(LOCKED).fetchall() if oid in before[revision]
        }

    monkeypatch.setattr(migrations, "run_sql", watched)
    return found


@pytest.mark.parametrize("service", DATABASES)
async def test_a_revision_locks_one_table_in_use(
    service: str, database_url: str, locked: Mapping[str, set[str]]
):
    await migrations.apply(service, database_url)
    several = {revision: names for revision, names in locked.items() if len(names) > 1}
    assert {r: names for r, names in several.items() if r > LAST_FROM_BEFORE[service]} == {}
    # The locks were really seen.
    assert any(locked.values())
