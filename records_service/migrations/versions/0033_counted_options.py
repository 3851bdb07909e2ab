"""Option lists know how many options they have.

Code of the version before counts nothing, so a count belongs to one version of its list.
"""

from shared.database.migrations import outside_transaction, run_sql

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    run_sql("ALTER TABLE option_lists ADD COLUMN value_count bigint")
    run_sql("ALTER TABLE option_lists ADD COLUMN counted_version bigint")
    with outside_transaction():
        # A list that is changed meanwhile has another version, and is counted with its next change.
        run_sql(
            """
            UPDATE option_lists p
               SET value_count = counted.count, counted_version = counted.version
              FROM (SELECT l.workspace_id, l.id, l.version,
                           (SELECT count(*) FROM option_values v
                             WHERE v.workspace_id = l.workspace_id AND v.list_id = l.id) AS count
                      FROM option_lists l) AS counted
             WHERE p.workspace_id = counted.workspace_id AND p.id = counted.id
               AND p.version = counted.version
            """
        )
