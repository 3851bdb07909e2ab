"""Which databases a version of a service can work with."""

from __future__ import annotations

import pytest
from alembic.script import ScriptDirectory

from shared.database.migrations import folder_of
from shared.database.schema_version import _TABLE_OF, Applied, complaint, known_revisions

KNOWN = ("0001", "0002", "0003")


@pytest.mark.parametrize(
    "applied",
    [
        Applied("0003", None, "records_service"),
        Applied("0003", "0003", "records_service"),
        Applied("0004", None, "records_service"),
        Applied("0007", "0003", "records_service"),
        Applied("0007", "0001", "records_service"),
    ],
)
def test_it_works_with_its_own_form_and_with_newer_ones_that_allow_it(applied: Applied):
    assert complaint("records_service", KNOWN, applied) is None


@pytest.mark.parametrize(
    ("applied", "told"),
    [
        (
            Applied(None, None, None),
            (
                "migrations missing: run python -m shared.database.migrations records_service"
                " (the database has no revision, this version needs 0003)"
            ),
        ),
        (
            Applied("0002", "0001", "records_service"),
            (
                "migrations missing: run python -m shared.database.migrations records_service"
                " (the database has revision 0002, this version needs 0003)"
            ),
        ),
        (
            Applied("0005", "0004", "records_service"),
            (
                "the database is newer than this version of records_service:"
                " it is at revision 0005,"
                " which needs code of revision 0004 or later, and this version has 0003"
            ),
        ),
        (
            Applied("0000-other", None, "records_service"),
            (
                "the database is at revision 0000-other, which this version of records_service"
                " does not know"
            ),
        ),
    ],
)
def test_it_says_what_is_wrong_with_any_other(applied: Applied, told: str):
    assert complaint("records_service", KNOWN, applied) == told


@pytest.mark.parametrize("service", ["auth_service", "records_service", "workflow_service"])
def test_file_names_say_the_same_as_alembic(service: str):
    script = ScriptDirectory(str(folder_of(service)))
    revisions = sorted(revision.revision for revision in script.walk_revisions())
    assert known_revisions(service) == tuple(revisions)
    assert known_revisions(service)[-1] == script.get_current_head()


@pytest.mark.parametrize(
    ("owner", "other"), [("auth_service", "that of auth_service"), (None, "another one")]
)
@pytest.mark.parametrize("revision", ["0003", "0001", "0009"])
def test_the_database_of_another_service_is_told_whatever_its_revision(
    revision: str, owner: str | None, other: str
):
    assert complaint("records_service", KNOWN, Applied(revision, "0009", owner)) == (
        f"this is not the database of records_service, but {other}: check SIGMA_DATABASE_URL"
    )


def test_a_database_from_before_the_comment_is_known_by_a_table_of_no_other_service():
    made = {
        service: "".join(
            file.read_text() for file in (folder_of(service) / "versions").glob("*.py")
        )
        for service in _TABLE_OF
    }
    for service, table in _TABLE_OF.items():
        first = next((folder_of(service) / "versions").glob("0001_*.py")).read_text()
        assert f"CREATE TABLE {table} (" in first
        for other in made.keys() - {service}:
            assert f"TABLE {table} " not in made[other]
