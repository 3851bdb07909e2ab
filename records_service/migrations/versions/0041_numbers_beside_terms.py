"""The numbers of a record are read together with its terms."""

from shared.database.migrations import run_sql

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    # Rows without them are those of records that nothing has written since: their numbers are
    # looked up in `search_numbers`.
    run_sql("ALTER TABLE search_records ADD COLUMN number_keys bigint[]")
    run_sql("ALTER TABLE search_records ADD COLUMN numbers double precision[]")
