"""Grants: which service may act for which user or API key while nobody calls.

A grant goes with its user or key, so that another key with the id of a deleted one grants nothing.
"""

from shared.database.migrations import outside_transaction, run_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    # Each statement by itself: users and keys are not locked together.
    with outside_transaction():
        run_sql(
            """
            CREATE TABLE IF NOT EXISTS grants (
                workspace_id text NOT NULL,
                service      text NOT NULL,
                kind         text NOT NULL CHECK (kind IN ('user', 'api_key')),
                subject_id   text NOT NULL,
                user_id      text GENERATED ALWAYS AS
                                 (CASE WHEN kind = 'user' THEN subject_id END) STORED,
                api_key_id   text GENERATED ALWAYS AS
                                 (CASE WHEN kind = 'api_key' THEN subject_id END) STORED,
                created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
                PRIMARY KEY (workspace_id, service, kind, subject_id),
                CONSTRAINT grants_of_users FOREIGN KEY (workspace_id, user_id)
                    REFERENCES users (workspace_id, id) ON DELETE CASCADE
            )
            """
        )
        run_sql("ALTER TABLE grants DROP CONSTRAINT IF EXISTS grants_of_api_keys")
        run_sql(
            """
            ALTER TABLE grants ADD CONSTRAINT grants_of_api_keys
                FOREIGN KEY (workspace_id, api_key_id)
                REFERENCES api_keys (workspace_id, id) ON DELETE CASCADE
            """
        )
        # The two deletions look for the grants of one user, or of one key.
        run_sql(
            """
            CREATE INDEX IF NOT EXISTS grants_by_user
                ON grants (workspace_id, user_id) WHERE user_id IS NOT NULL
            """
        )
        run_sql(
            """
            CREATE INDEX IF NOT EXISTS grants_by_api_key
                ON grants (workspace_id, api_key_id) WHERE api_key_id IS NOT NULL
            """
        )
