"""How many roles and API keys a workspace has and their bytes, counted by whatever changes them."""

from shared.database import sizes
from shared.database.migrations import run_sql

revision = "0005"
down_revision = "0004"

ROLE_BYTES = """
    octet_length({row}.id) + octet_length({row}.name) + coalesce(octet_length({row}.description), 0)
    + octet_length({row}.schema_permissions::text) + octet_length({row}.catalog_permissions::text)
"""


def upgrade() -> None:
    run_sql(sizes.SCHEMA)
    run_sql(
        sizes.counting(
            "roles",
            ROLE_BYTES,
            ("name", "description", "schema_permissions", "catalog_permissions"),
        )
    )
    run_sql(
        sizes.counting(
            "api_keys", "octet_length({row}.id) + octet_length({row}.name)", ("id", "name")
        )
    )
