"""Finds what had an alias before, for the news that something else has it now."""

from shared.database.migrations import run_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_sql(
        """
        CREATE INDEX former_aliases_by_name ON former_aliases (workspace_id, kind, alias)
        """
    )
