"""With whose rights a run of an export job was made: what it tells is shown to them.

Of runs before, nobody knows; they are shown to administrators and API keys.
"""

from shared.database.migrations import run_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_sql("ALTER TABLE export_runs ADD COLUMN runs_as text, ADD COLUMN runs_as_kind text")
