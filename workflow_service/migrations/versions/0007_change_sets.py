"""Change sets: proposed operations on records, and what reviewers say of them."""

from shared.database.migrations import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE change_sets (
            workspace_id text        NOT NULL,
            id           text        NOT NULL,
            title        text,
            description  text,
            status       text        NOT NULL,
            source_type  text        NOT NULL,
            source       jsonb       NOT NULL,
            operations   integer     NOT NULL,
            attempt      integer     NOT NULL DEFAULT 0,
            version      bigint      NOT NULL,
            created_at   timestamptz NOT NULL,
            updated_at   timestamptz NOT NULL,
            created_by   text        NOT NULL,
            submitted_at timestamptz,
            applied_at   timestamptz,
            applied_by   text,
            CONSTRAINT change_sets_id_taken PRIMARY KEY (workspace_id, id)
        )
        """
    )
    for name, columns in (
        ("change_sets_in_order", "workspace_id, created_at, id"),
        ("change_sets_by_status", "workspace_id, status, created_at, id"),
        ("change_sets_by_source", "workspace_id, source_type, created_at, id"),
        ("change_sets_by_both", "workspace_id, status, source_type, created_at, id"),
    ):
        run_sql(f"CREATE INDEX {name} ON change_sets ({columns})")
    run_sql(
        """
        CREATE TABLE change_set_operations (
            workspace_id  text    NOT NULL,
            change_set_id text    NOT NULL,
            id            text    NOT NULL,
            place         integer NOT NULL,
            type          text    NOT NULL,
            status        text    NOT NULL,
            schema_id     text,
            entity_id     text,
            variant_id    text,
            parent_id     text,
            changes       jsonb   NOT NULL,
            ratings       jsonb   NOT NULL DEFAULT '{}',
            CONSTRAINT change_set_operations_pkey PRIMARY KEY (workspace_id, change_set_id, id),
            CONSTRAINT change_set_operations_of FOREIGN KEY (workspace_id, change_set_id)
                REFERENCES change_sets (workspace_id, id) ON DELETE CASCADE
        )
        """
    )
    run_sql(
        "CREATE INDEX change_set_operations_in_order"
        " ON change_set_operations (workspace_id, change_set_id, place)"
    )
    run_sql(
        "CREATE INDEX change_set_operations_by_status"
        " ON change_set_operations (workspace_id, change_set_id, status, place)"
    )
    run_sql(
        "CREATE INDEX change_set_operations_by_entity"
        " ON change_set_operations (workspace_id, entity_id, change_set_id)"
    )
    for table, columns in (
        (
            "change_set_annotations",
            """operation_id text NOT NULL, attribute_id text NOT NULL, attribute text NOT NULL,
                text text NOT NULL, start integer, stop integer, comment text NOT NULL""",
        ),
        ("change_set_messages", "text text NOT NULL"),
    ):
        run_sql(
            f"""
            CREATE TABLE {table} (
                workspace_id  text        NOT NULL,
                change_set_id text        NOT NULL,
                id            text        NOT NULL,
                created_at    timestamptz NOT NULL,
                created_by    text        NOT NULL,
                {columns},
                CONSTRAINT {table}_id_taken PRIMARY KEY (workspace_id, change_set_id, id),
                CONSTRAINT {table}_of FOREIGN KEY (workspace_id, change_set_id)
                    REFERENCES change_sets (workspace_id, id) ON DELETE CASCADE
            )
            """
        )
    run_sql(
        """
        CREATE TABLE change_set_counts (
            workspace_id text   NOT NULL,
            status       text   NOT NULL,
            number       bigint NOT NULL,
            PRIMARY KEY (workspace_id, status)
        )
        """
    )
