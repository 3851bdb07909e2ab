"""Labels and external keys of options, and one owner for each external key.

Those of other model objects are in their bodies.
"""

from shared.database.migrations import outside_transaction, run_sql

revision = "0015"
down_revision = "0014"

KINDS = ("dimensions", "option_lists", "attributes", "schemas")


def upgrade() -> None:
    with outside_transaction():
        run_sql("ALTER TABLE option_values ADD COLUMN IF NOT EXISTS labels jsonb")
        run_sql("ALTER TABLE option_values ADD COLUMN IF NOT EXISTS external_key text")
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS option_values_external_key_taken")
        run_sql(
            """
            CREATE UNIQUE INDEX CONCURRENTLY option_values_external_key_taken
                ON option_values (workspace_id, list_id, external_key)
             WHERE external_key IS NOT NULL
            """
        )
        for kind in KINDS:
            run_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {kind}_external_key_taken")
            run_sql(
                f"""
                CREATE UNIQUE INDEX CONCURRENTLY {kind}_external_key_taken
                    ON {kind} (workspace_id, (body ->> 'externalKey'))
                 WHERE body ->> 'externalKey' IS NOT NULL
                """
            )
