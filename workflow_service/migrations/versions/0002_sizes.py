"""How many workflows a workspace has and their bytes, counted by whatever changes them."""

from shared.database import sizes
from shared.database.migrations import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_sql(sizes.SCHEMA)
    run_sql(
        sizes.counting(
            "workflows",
            "octet_length({row}.id) + octet_length({row}.alias) + octet_length({row}.body::text)",
            ("alias", "body"),
        )
    )
    run_sql("CREATE INDEX workflows_in_order ON workflows (workspace_id, created_at, id)")
