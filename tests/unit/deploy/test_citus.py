"""The SQL that distributes the tables of a service."""

from __future__ import annotations

import subprocess
import sys

import pglast
import pytest

from deploy.citus.__main__ import statements
from deploy.citus.tables import ON_CITUS, Tables


def test_triggers_go_first_and_all_tables_are_beside_the_first():
    tables = Tables(tenant=("owners", "things"), local=("inbox",), triggers={"things": ("a", "b")})
    assert list(statements(tables)) == [
        "DROP TRIGGER IF EXISTS a ON things;",
        "DROP TRIGGER IF EXISTS b ON things;",
        "SELECT create_distributed_table('owners', 'workspace_id');",
        "SELECT create_distributed_table('things', 'workspace_id', colocate_with => 'owners');",
    ]


@pytest.mark.parametrize("service", ON_CITUS)
def test_it_is_printed_for_a_service(service: str):
    printed = subprocess.run(
        [sys.executable, "-m", "deploy.citus", service], capture_output=True, text=True, check=True
    ).stdout
    assert printed.splitlines() == list(statements(ON_CITUS[service]))
    assert len(pglast.parse_sql(printed)) == len(printed.splitlines())


def test_auth_service_stays_where_it_is():
    asked = subprocess.run(
        [sys.executable, "-m", "deploy.citus", "auth_service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (asked.returncode, asked.stdout) == (2, "")
