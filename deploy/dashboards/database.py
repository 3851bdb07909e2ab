"""PostgreSQL as the services see it: pools, waits, transactions, tables and standbys."""

from __future__ import annotations

from typing import Final

from deploy.dashboards.board import BYTES, COUNT, PER_SECOND, SECONDS, SHARE, Board, Chart

DATABASE: Final = Board(
    uid="sigma-database",
    title="Sigma PIM: Database",
    about="The databases of the three services, from the side of the services.",
    rows={
        "Connections": [
            Chart(
                "Connections by state",
                COUNT,
                {"{{job}} {{state}}": "sum by (job, state) (sigma_postgres_pool_connections)"},
            ),
            Chart(
                "Waiting for a connection (99 of 100)",
                SECONDS,
                {
                    "{{job}}": "histogram_quantile(0.99, sum by (job, le)"
                    " (rate(sigma_postgres_pool_wait_seconds_bucket[5m])))"
                },
                "If it rises while CPU is free, the database is the limit.",
            ),
            Chart(
                "Requests refused for want of a connection",
                PER_SECOND,
                {"{{job}}": "sum by (job) (rate(sigma_postgres_pool_refused_total[5m]))"},
            ),
        ],
        "Transactions": [
            Chart(
                "Transactions",
                PER_SECOND,
                {
                    "{{job}} {{outcome}}": "max by (job, outcome)"
                    " (rate(sigma_postgres_transactions_total[5m]))"
                },
            ),
            Chart(
                "Age of the oldest open transaction",
                SECONDS,
                {"{{job}}": "max by (job) (sigma_postgres_oldest_transaction_seconds)"},
                "While it lasts, no table is cleaned up.",
            ),
            Chart(
                "Waiting for a lock, and deadlocks",
                COUNT,
                {
                    "{{job}} waiting": "max by (job) (sigma_postgres_lock_waits)",
                    "{{job}} deadlocks": "max by (job)"
                    " (increase(sigma_postgres_deadlocks_total[5m]))",
                },
            ),
        ],
        "Tables": [
            Chart(
                "Largest tables",
                BYTES,
                {"{{job}} {{table}}": "topk(10, max by (job, table) (sigma_postgres_table_bytes))"},
                "With their indexes.",
            ),
            Chart(
                "Share of dead rows",
                SHARE,
                {
                    "{{job}} {{table}}": "topk(10, max by (job, table)"
                    ' (sigma_postgres_table_rows{state="dead"})'
                    ' / (max by (job, table) (sigma_postgres_table_rows{state="live"})'
                    ' + max by (job, table) (sigma_postgres_table_rows{state="dead"}) + 1))'
                },
                "Bloat: above a half for hours, something keeps PostgreSQL from cleaning up.",
            ),
            Chart(
                "Rows read by walking through a table",
                PER_SECOND,
                {
                    "{{job}} {{table}}": "topk(10, max by (job, table)"
                    " (rate(sigma_postgres_table_rows_walked_total[5m])))"
                },
                "No request walks through a large table.",
            ),
        ],
        "History and standbys": [
            Chart(
                "Entries of the history removed for their age",
                PER_SECOND,
                {"removed": "sum(rate(sigma_history_entries_removed_total[5m]))"},
            ),
            Chart(
                "Entries out of place",
                COUNT,
                {"out of place": "max(sigma_history_out_of_place)"},
            ),
            Chart(
                "How far standbys are behind",
                SECONDS,
                {
                    "{{job}} {{standby}}": "max by (job, standby)"
                    " (sigma_postgres_replication_lag_seconds)"
                },
                "Known if the role of the service is a member of pg_monitor.",
            ),
        ],
    },
)
