"""The rules for SQL on Citus, by statements of the kind that failed there."""

from __future__ import annotations

import ast

import pytest

from tests.kit.servers import ROOT
from tests.kit.sql.exceptions import SPANNING
from tests.kit.sql.rules import Rule, judged

TENANT = frozenset({"records", "models", "usage", "audit", "due"})
LOCAL = frozenset({"inbox"})


def broken(sql: str) -> set[Rule]:
    return {violation.rule for violation in judged(sql, TENANT, LOCAL).violations}


BOUND = [
    "EXPLAIN (FORMAT JSON) SELECT 1 FROM models WHERE workspace_id = $1",
    "SELECT version FROM models WHERE workspace_id = $1",
    "SELECT version FROM models m WHERE $3::text = m.workspace_id AND version > 3",
    (
        "SELECT r.id FROM records r JOIN models m ON m.workspace_id = r.workspace_id"
        " WHERE r.workspace_id = $1"
    ),
    "SELECT id FROM records JOIN models USING (workspace_id) WHERE workspace_id = $1",
    (
        "SELECT id FROM records r LEFT JOIN models m"
        " ON (m.workspace_id, m.version) = (r.workspace_id, r.version) WHERE r.workspace_id = $1"
    ),
    (
        "SELECT p.id FROM (SELECT workspace_id, id FROM records WHERE workspace_id = $1) p"
        " JOIN models m ON m.workspace_id = p.workspace_id"
    ),
    (
        "WITH p AS (SELECT * FROM records WHERE workspace_id = $1)"
        " SELECT m.version FROM p JOIN models m USING (workspace_id)"
    ),
    (
        "SELECT id FROM records r WHERE workspace_id = $1 AND EXISTS"
        " (SELECT FROM audit a WHERE a.workspace_id = r.workspace_id AND a.record_id = r.id)"
    ),
    (
        "SELECT a.id FROM models m CROSS JOIN LATERAL (SELECT id FROM records r"
        " WHERE r.workspace_id = m.workspace_id LIMIT 1) a WHERE m.workspace_id = $1"
    ),
    "INSERT INTO records (id, workspace_id) VALUES ($2, $1)",
    (
        "INSERT INTO records (workspace_id, id) SELECT $1, n.id FROM unnest($2::text[]) AS n (id)"
        " RETURNING 1"
    ),
    (
        "INSERT INTO audit (workspace_id, id) SELECT workspace_id, id FROM records"
        " WHERE workspace_id = $1"
    ),
    (
        "UPDATE records r SET id = $3 FROM models m"
        " WHERE r.workspace_id = $1 AND m.workspace_id = r.workspace_id"
    ),
    (
        "DELETE FROM records USING models m WHERE records.workspace_id = m.workspace_id"
        " AND m.workspace_id = $1"
    ),
    (
        "DELETE FROM records WHERE workspace_id = $1 AND (workspace_id, id) IN"
        " (SELECT workspace_id, record_id FROM audit LIMIT 5)"
    ),
    (
        "SELECT id FROM records WHERE workspace_id = $1"
        " UNION ALL SELECT id FROM audit WHERE workspace_id = $1"
    ),
]

UNBOUND = [
    "SELECT version FROM models",
    "SELECT version FROM models WHERE workspace_id = ANY($1)",
    "SELECT version FROM models WHERE workspace_id = $1 OR version = 1",
    "SELECT version FROM models WHERE NOT workspace_id = $1",
    # The read by key of several workspaces, which asked every shard.
    (
        "SELECT r.id FROM unnest($1::text[], $2::text[]) AS asked (workspace_id, id)"
        " JOIN records r ON r.workspace_id = asked.workspace_id AND r.id = asked.id"
    ),
    "SELECT r.id FROM records r, models m WHERE r.workspace_id = $1",
    "SELECT r.id FROM records r, models m WHERE r.workspace_id = $1 AND m.workspace_id = $2",
    "SELECT r.id FROM records r JOIN models m ON m.version = r.version WHERE r.workspace_id = $1",
    "WITH p AS (SELECT workspace_id, id FROM records) SELECT id FROM p WHERE workspace_id = $1",
    "SELECT id FROM records WHERE workspace_id = $1 UNION ALL SELECT id FROM audit",
    "SELECT id FROM records r WHERE workspace_id = $1 AND EXISTS (SELECT FROM audit)",
    "INSERT INTO records (id) VALUES ($1)",
    (
        "INSERT INTO records (workspace_id, id)"
        " SELECT * FROM unnest($1::text[], $2::text[]) RETURNING 1"
    ),
    (
        "INSERT INTO records (workspace_id, id) SELECT n.id, $1 FROM unnest($2::text[]) AS n (id)"
        " RETURNING 1"
    ),
    "UPDATE records SET id = $2 WHERE id = $1",
    "DELETE FROM records WHERE id = ANY($1::bigint[])",
]


@pytest.mark.parametrize("sql", BOUND)
def test_a_statement_of_one_workspace(sql: str):
    assert broken(sql) == set()
    assert judged(sql, TENANT, LOCAL).workspace in (1, 3)


@pytest.mark.parametrize("sql", UNBOUND)
def test_a_statement_of_more_than_one_workspace(sql: str):
    assert broken(sql) == {Rule.ONE_WORKSPACE}


DUE = "UPDATE due d SET note = $2 WHERE d.workspace_id = $1 AND "
NEW = "INSERT INTO records (workspace_id, id) "
BROKEN = [
    # A work queue over all workspaces.
    (
        "SELECT id FROM due ORDER BY at FOR UPDATE SKIP LOCKED LIMIT 5",
        {Rule.LOCK_OF_ONE_TABLE, Rule.ONE_WORKSPACE},
    ),
    # A locking CTE that joins another one.
    (
        (
            "WITH model AS (SELECT 1 FROM models WHERE workspace_id = $1)"
            " SELECT u.stripe FROM usage u, model WHERE u.workspace_id = $1 FOR UPDATE OF u"
        ),
        {Rule.LOCK_OF_ONE_TABLE},
    ),
    ("UPDATE due SET at = clock_timestamp() WHERE workspace_id = $1", {Rule.NO_MUTABLE_FUNCTION}),
    ("UPDATE due SET id = own_function(1) WHERE workspace_id = $1", {Rule.NO_MUTABLE_FUNCTION}),
    (DUE + "d.at < clock_timestamp()", {Rule.NO_MUTABLE_FUNCTION}),
    (DUE + "date_trunc('day', d.at) = $3", {Rule.NO_MUTABLE_FUNCTION}),
    (DUE + "d.at - interval '1 day' < $3", {Rule.NO_MUTABLE_FUNCTION}),
    (DUE + "d.at < CASE WHEN $3 THEN now() END", {Rule.NO_MUTABLE_FUNCTION}),
    (DUE + "d.at < coalesce($3, now())", {Rule.NO_MUTABLE_FUNCTION}),
    (
        "DELETE FROM due WHERE workspace_id = $1 AND at + make_interval(days => 3) < $2",
        {Rule.NO_MUTABLE_FUNCTION},
    ),
    (
        (
            "INSERT INTO due (workspace_id, at) VALUES ($1, now())"
            " ON CONFLICT (workspace_id) DO UPDATE SET at = now()"
        ),
        {Rule.NO_MUTABLE_FUNCTION},
    ),
    (
        (
            "INSERT INTO due (workspace_id, at) VALUES ($1, now())"
            " ON CONFLICT (workspace_id) DO UPDATE SET at = CURRENT_TIMESTAMP"
        ),
        {Rule.NO_MUTABLE_FUNCTION},
    ),
    (
        NEW + "VALUES ($1, (SELECT max(id) FROM models WHERE workspace_id = $1))",
        {Rule.NO_QUERY_IN_VALUES},
    ),
    (
        "SELECT count(*) FROM (SELECT FROM due WHERE workspace_id = $1 LIMIT $2) AS few",
        {Rule.NO_QUERY_IN_VALUES},
    ),
    (NEW + "SELECT $1, n.id FROM unnest($2::text[]) AS n (id)", {Rule.INSERT_OF_SELECT}),
    (
        "SELECT id FROM records JOIN inbox ON event_id = id WHERE workspace_id = $1",
        {Rule.NO_LOCAL_TABLE},
    ),
    ("SELECT id FROM elsewhere", {Rule.KNOWN}),
    ("LOCK TABLE records", {Rule.KNOWN}),
]
KEPT = [
    "SELECT id FROM due WHERE workspace_id = $1 FOR UPDATE SKIP LOCKED",
    "SELECT event_id FROM inbox FOR UPDATE",
    "UPDATE inbox SET received_at = clock_timestamp()",
    "SELECT id FROM due WHERE workspace_id = $1 AND at < clock_timestamp() - interval '1 day'",
    DUE + "d.at < now() - make_interval(secs => $3)",
    DUE + "d.at < greatest($3, d.at)",
    (
        "INSERT INTO due (workspace_id, at) VALUES ($1, clock_timestamp())"
        " ON CONFLICT (workspace_id) DO UPDATE SET at = excluded.at"
    ),
    NEW + "SELECT $1, coalesce((SELECT max(id) FROM models WHERE workspace_id = $1), $2)",
    NEW + "SELECT $1, n.id FROM unnest($2::text[]) AS n (id) ON CONFLICT DO NOTHING",
    NEW + "SELECT m.workspace_id, n.id FROM models m, unnest($2::text[]) AS n (id)"
    " WHERE m.workspace_id = $1",
    "SELECT EXISTS (SELECT FROM models WHERE workspace_id = $1)",
    "DELETE FROM inbox WHERE event_id IN (SELECT event_id FROM inbox LIMIT $1)",
    "SELECT pg_try_advisory_lock($1)",
    "BEGIN",
    "SET CONSTRAINTS ALL IMMEDIATE",
]


@pytest.mark.parametrize(("sql", "rules"), BROKEN)
def test_what_citus_refuses(sql: str, rules: set[Rule]):
    assert broken(sql) == rules


@pytest.mark.parametrize("sql", KEPT)
def test_what_citus_runs(sql: str):
    assert broken(sql) == set()


@pytest.mark.parametrize("where", SPANNING)
def test_an_exception_names_a_function_that_exists(where: str):
    file, _, function = where.partition(":")
    nodes = ast.walk(ast.parse((ROOT / file).read_text()))
    defined = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert function in defined
