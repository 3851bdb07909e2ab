"""The size of a model counts the options that processes hold: those of lists of at most 500."""

from shared.database.migrations import run_sql

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    run_sql(
        """
        UPDATE models m
           SET bytes = greatest(m.bytes - large.bytes, 0)
          FROM (SELECT workspace_id, sum(bytes)::bigint AS bytes
                  FROM (SELECT v.workspace_id,
                               sum(60 + octet_length(v.id) + octet_length(v.alias)
                                   + octet_length(v.label) + coalesce(octet_length(v.color), 0)
                                   + coalesce(octet_length(v.parent_id), 0)
                                   + coalesce(octet_length(v.labels::text), 0)
                                   + coalesce(octet_length(v.external_key), 0)) AS bytes
                          FROM option_values v
                         GROUP BY v.workspace_id, v.list_id
                        HAVING count(*) > 500) AS lists
                 GROUP BY workspace_id) AS large
         WHERE m.workspace_id = large.workspace_id
        """
    )
