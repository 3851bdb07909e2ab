"""Each step of a migration is one statement: Citus hands on the whole text, and workers refuse two.

A database is distributed by a version that has the revisions before, so only later ones count.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pglast
import pytest

from deploy.citus.tables import ON_CITUS
from shared.database import migrations

ROOT = Path(__file__).parents[3]
LAST_ON_ONE_MACHINE = {"records_service": "0012", "workflow_service": "0003"}
"""The revisions that a database had already when it could be distributed for the first time."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Revision and text of each `run_sql` from now on."""
    ran: list[tuple[str, str]] = []
    run_sql = migrations.run_sql

    def watched(sql: str) -> None:
        ran.append((sys._getframe(1).f_globals.get("revision", ""), sql))
        run_sql(sql)

    monkeypatch.setattr(migrations, "run_sql", watched)
    return ran


def several(steps: list[tuple[str, str]], last_on_one_machine: str) -> list[tuple[str, int]]:
    """Revision and number of statements of the steps that are not one statement."""
    counts = [
        (revision, len(pglast.parse_sql(sql)))
        for revision, sql in steps
        if revision > last_on_one_machine
    ]
    return [(revision, count) for revision, count in counts if count != 1]


@pytest.mark.parametrize("service", ON_CITUS)
async def test_a_step_is_one_statement(
    service: str, database_url: str, steps: list[tuple[str, str]]
):
    await migrations.apply(service, database_url)
    assert several(steps, LAST_ON_ONE_MACHINE[service]) == []
    # Those before are not: the texts were really seen.
    assert several(steps, "0000")


@pytest.mark.parametrize("service", ON_CITUS)
def test_all_sql_of_a_migration_is_a_step(service: str):
    """What Alembic makes itself, such as `op.add_column`, is one statement each."""
    for path in (ROOT / service / "migrations" / "versions").glob("*.py"):
        assert not re.search(r"\bop\.execute\(", path.read_text()), path.name


async def test_two_statements_in_a_step_are_found(
    database_url: str,
    steps: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    folder = tmp_path / "planted" / "migrations" / "versions"
    folder.mkdir(parents=True)
    (tmp_path / "planted" / "__init__.py").touch()
    (folder / "0001_planted.py").write_text(
        "from shared.database.migrations import run_sql\n"
        'revision = "0001"\ndown_revision = None\n\n\n'
        "def upgrade():\n"
        '    run_sql("CREATE TABLE a (b text); CREATE INDEX a_b ON a (b)")\n'
        "    run_sql(\"DO $$ BEGIN PERFORM 1; PERFORM ';'; END $$\")\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    await migrations.apply("planted", database_url)
    assert several(steps, "0000") == [("0001", 2)]
    shutil.rmtree(tmp_path / "planted")
