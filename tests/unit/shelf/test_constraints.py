"""Which constraint was violated: by PostgreSQL itself, and by a worker of Citus."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest
from asyncpg.exceptions import PostgresError

from shared.database import mapping_constraints, violated
from shared.errors import Conflict
from tests.kit.citus import as_from_a_worker

ROOT = Path(__file__).parents[3]
PRODUCT = ("auth_service", "gateway", "records_service", "shared", "workflow_service")
UNIQUE, FOREIGN, CHECK = "23505", "23503", "23514"


def violation(code: str, message: str, constraint: str | None = None) -> PostgresError:
    """An error with these fields; without a constraint, as Citus passes it on."""
    fields = {"C": code, "M": message, "D": 'Key (id)=("others_taken") exists.'}
    return PostgresError.new(fields | ({} if constraint is None else {"n": constraint}))


def taken(constraint: str) -> PostgresError:
    return violation(UNIQUE, f'duplicate key value violates unique constraint "{constraint}"')


@pytest.mark.parametrize(
    ("error", "names", "name"),
    [
        (
            violation(UNIQUE, "verletzt Unique-Constraint »id_taken«", "id_taken"),
            ["alias_taken", "id_taken"],
            "id_taken",
        ),
        (taken("id_taken"), ["alias_taken", "id_taken"], "id_taken"),
        (taken("id_taken_102052"), ["alias_taken", "id_taken"], "id_taken"),
        (taken("id_taken_102052"), ["alias_taken"], None),
        (taken("others_taken_102052"), ["taken"], None),
        (taken("id_taken_again_102052"), ["id_taken"], None),
        (taken("id_taken_again_102052"), ["id_taken", "id_taken_again"], "id_taken_again"),
        (taken("id_taken_2_102052"), ["id_taken", "id_taken_2"], "id_taken_2"),
        (taken("id_taken_2"), ["id_taken", "id_taken_2"], "id_taken_2"),
        (taken("id_taken_x2"), ["id_taken"], None),
        (taken("idXtaken_102052"), ["id.taken"], None),
        (taken("id_taken_102052"), ["others_taken"], None),
        (
            violation(
                FOREIGN,
                'update or delete on table "workflows_102014" violates foreign key constraint'
                ' "workflow_is_referenced_102008" on table "workflow_references_102008"',
            ),
            ["workflows_id_taken", "workflow_is_referenced"],
            "workflow_is_referenced",
        ),
        (
            violation(
                CHECK,
                'new row for relation "record_lives_102052" violates check constraint'
                ' "record_goes_on_counting"',
            ),
            ["record_goes_on_counting"],
            "record_goes_on_counting",
        ),
        # A name that PostgreSQL itself sends is believed, whatever the message says.
        (violation(UNIQUE, '"id_taken"', "id_taken_2"), ["id_taken"], None),
    ],
)
def test_the_violated_constraint_is_found(
    error: asyncpg.IntegrityConstraintViolationError, names: list[str], name: str | None
):
    assert violated(error, names) == name


@pytest.mark.parametrize("constraint", ["id_taken_102052", "alias_taken"])
def test_the_constraint_of_a_shard_becomes_its_meaning(constraint: str):
    outcomes = {
        "id_taken": lambda: Conflict.taken("Thing", "t1"),
        "alias_taken": lambda: Conflict.taken("Thing", "t1"),
    }
    with pytest.raises(Conflict), mapping_constraints(outcomes):
        raise taken(constraint)


def test_a_constraint_without_a_meaning_stays_as_it_is():
    with (
        pytest.raises(asyncpg.UniqueViolationError),
        mapping_constraints({"id_taken": lambda: Conflict.taken("Thing", "t1")}),
    ):
        raise taken("alias_taken_102052")


def test_the_kit_makes_errors_as_citus_does():
    assert as_from_a_worker(
        {
            "C": UNIQUE,
            "M": 'duplicate key value violates unique constraint "dimensions_id_taken"',
            "D": "Key (workspace_id, id)=(ws, d) already exists.",
            "s": "public",
            "t": "dimensions",
            "n": "dimensions_id_taken",
        }
    ) == {
        "C": UNIQUE,
        "M": 'duplicate key value violates unique constraint "dimensions_id_taken_102052"',
        "D": "Key (workspace_id, id)=(ws, d) already exists.",
    }
    assert as_from_a_worker(
        {"C": CHECK, "M": 'relation "t" violates check constraint "c"', "t": "t", "n": "c"}
    ) == {"C": CHECK, "M": 'relation "t_102052" violates check constraint "c"'}
    by_a_trigger = {"C": UNIQUE, "M": "values are still being removed", "n": "id_taken"}
    assert as_from_a_worker(by_a_trigger) == by_a_trigger


def test_one_file_reads_which_constraint_an_error_names():
    reading = [
        str(path.relative_to(ROOT))
        for package in PRODUCT
        for path in sorted((ROOT / package).rglob("*.py"))
        if re.search(r"\bconstraint_name\b", path.read_text())
    ]
    assert reading == ["shared/database/constraints.py"]
