"""Import jobs, their files and the rows that they refused."""

from shared.database.migrations import run_sql

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE imports (
            workspace_id text        NOT NULL,
            id           text        NOT NULL,
            status       text        NOT NULL,
            format       text        NOT NULL,
            file_name    text,
            file_size    bigint      NOT NULL DEFAULT 0,
            settings     jsonb       NOT NULL DEFAULT '{}',
            identity     jsonb       NOT NULL DEFAULT '{}',
            position     jsonb       NOT NULL DEFAULT '{}',
            total        bigint,
            created      bigint      NOT NULL DEFAULT 0,
            updated      bigint      NOT NULL DEFAULT 0,
            unchanged    bigint      NOT NULL DEFAULT 0,
            skipped      bigint      NOT NULL DEFAULT 0,
            failed       bigint      NOT NULL DEFAULT 0,
            warnings     text[]      NOT NULL DEFAULT '{}',
            error        text,
            has_file     boolean     NOT NULL DEFAULT true,
            created_at   timestamptz NOT NULL,
            started_at   timestamptz,
            completed_at timestamptz,
            created_by   text        NOT NULL,
            CONSTRAINT imports_id_taken PRIMARY KEY (workspace_id, id)
        )
        """
    )
    run_sql("CREATE INDEX imports_in_order ON imports (workspace_id, created_at, id)")
    run_sql("CREATE INDEX imports_by_end ON imports (completed_at) WHERE has_file")
    run_sql(
        """
        CREATE TABLE import_chunks (
            workspace_id text   NOT NULL,
            import_id    text   NOT NULL,
            part         int    NOT NULL,
            number       bigint NOT NULL,
            data         bytea  NOT NULL,
            PRIMARY KEY (workspace_id, import_id, part, number)
        )
        """
    )
    run_sql("ALTER TABLE import_chunks ALTER COLUMN data SET COMPRESSION lz4")
    run_sql(
        """
        CREATE TABLE import_errors (
            workspace_id text   NOT NULL,
            import_id    text   NOT NULL,
            row_number   bigint NOT NULL,
            number       int    NOT NULL,
            line         bigint NOT NULL,
            column_name  text,
            attribute    text,
            pointer      text   NOT NULL,
            error        text   NOT NULL,
            message      text   NOT NULL,
            sent         text,
            PRIMARY KEY (workspace_id, import_id, row_number, number)
        )
        """
    )
