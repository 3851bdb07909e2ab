"""An empty text is no value, so it is nobody's unique value."""

from shared.database.migrations import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_sql(
        """
        -- The hash is that of the value as JSON.
        DELETE FROM unique_values WHERE value_hash = sha256('""'::bytea);
        """
    )
