"""From when on workspaces fold texts by newer rules, where what is stored is folded by older ones.

Code of the version before folds by the older rules. So in a database that is in use, what is stored
is folded anew an hour later: a rolling upgrade has ended by then.
"""

from shared.database.migrations import run_sql

revision = "0063"
down_revision = "0062"


def upgrade() -> None:
    run_sql(
        """
        DO $$
        BEGIN
            EXECUTE format(
                'ALTER TABLE search_layouts'
                ' ADD COLUMN folds_from timestamptz NOT NULL DEFAULT %L',
                CASE WHEN EXISTS (SELECT FROM models) THEN now() + interval '1 hour'
                     ELSE '-infinity'::timestamptz END);
        END
        $$;
        """
    )
