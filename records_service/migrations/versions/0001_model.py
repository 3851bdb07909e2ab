"""What a workspace models: dimensions, option lists, attributes and schemas, at one version.

A unique constraint is called after what a broken one is told as: `dimensions_alias_taken`.
`changed_in` is the model version that a row was last written in.
"""

from shared.database.migrations import run_sql

revision = "0001"
down_revision = None

KINDS = ("dimensions", "option_lists", "attributes", "schemas")


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE models (
            workspace_id text PRIMARY KEY,
            version      bigint NOT NULL
        ) WITH (fillfactor = 50);
        """
    )
    for kind in KINDS:
        run_sql(
            f"""
            CREATE TABLE {kind} (
                workspace_id text NOT NULL,
                id           text NOT NULL,
                alias        text NOT NULL,
                body         jsonb NOT NULL,
                version      bigint NOT NULL,
                changed_in   bigint NOT NULL,
                created_at   timestamptz NOT NULL,
                updated_at   timestamptz NOT NULL,
                CONSTRAINT {kind}_id_taken PRIMARY KEY (workspace_id, id),
                CONSTRAINT {kind}_alias_taken UNIQUE (workspace_id, alias)
            );
            """
        )
    run_sql(
        """
        CREATE TABLE option_values (
            workspace_id text NOT NULL,
            list_id      text NOT NULL,
            id           text NOT NULL,
            alias        text NOT NULL,
            label        text NOT NULL,
            sort_order   float8 NOT NULL,
            color        text,
            parent_id    text,
            CONSTRAINT option_values_id_taken PRIMARY KEY (workspace_id, list_id, id),
            CONSTRAINT option_values_alias_taken UNIQUE (workspace_id, list_id, alias),
            FOREIGN KEY (workspace_id, list_id)
                REFERENCES option_lists (workspace_id, id) ON DELETE CASCADE
        );
        CREATE INDEX option_values_below ON option_values (workspace_id, list_id, parent_id)
            WHERE parent_id IS NOT NULL;
        """
    )
