"""The model of a workspace: dimensions, option lists, attributes, schemas, and its version."""

from shared.migrations import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE models (
            workspace_id text PRIMARY KEY,
            version      bigint NOT NULL
        ) WITH (fillfactor = 50);
        """
    )
    for table in ("dimensions", "option_lists", "attributes", "schemas"):
        run_sql(
            f"""
            CREATE TABLE {table} (
                workspace_id text NOT NULL,
                id           text NOT NULL,
                alias        text NOT NULL,
                body         jsonb NOT NULL,
                version      bigint NOT NULL,
                created_at   timestamptz NOT NULL,
                updated_at   timestamptz NOT NULL,
                CONSTRAINT {table}_id_taken PRIMARY KEY (workspace_id, id),
                CONSTRAINT {table}_alias_taken UNIQUE (workspace_id, alias)
            );
            """
        )
