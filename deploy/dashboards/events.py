"""What follows a change: the outbox, the feed, queues, webhooks, jobs, exports and channels."""

from __future__ import annotations

from typing import Final

from deploy.dashboards.board import COUNT, PER_SECOND, SECONDS, Board, Chart

EVENTS: Final = Board(
    uid="sigma-events",
    title="Sigma PIM: Events",
    about="From the commit of a change to all that it causes.",
    rows={
        "Outbox and feed": [
            Chart(
                "Age of the oldest event that is not published",
                SECONDS,
                {"{{job}}": "max by (job) (sigma_outbox_oldest_age_seconds)"},
                "Mostly below a second. It grows without a broker or without a relay.",
            ),
            Chart(
                "Events that are not published",
                COUNT,
                {"{{job}}": "max by (job) (sigma_outbox_rows)"},
                "Counted up to 10,000.",
            ),
            Chart(
                "Events published and placed in the feed",
                PER_SECOND,
                {
                    "published by {{job}}": "sum by (job) (rate(sigma_outbox_events_total[5m]))",
                    "placed": "sum(rate(sigma_feed_events_total[5m]))",
                    "removed from the feed": "sum(rate(sigma_feed_events_removed_total[5m]))",
                },
            ),
            Chart(
                "Age of the oldest event that is not in the feed",
                SECONDS,
                {"{{job}}": "max by (job) (sigma_feed_oldest_age_seconds)"},
            ),
            Chart(
                "Connected to RabbitMQ",
                COUNT,
                {"{{job}}": "sum by (job) (sigma_bus_up)"},
                "Processes of each service.",
            ),
        ],
        "Queues": [
            Chart(
                "Messages that wait",
                COUNT,
                {"{{queue}}": "max by (queue) (sigma_consumer_waiting_messages)"},
            ),
            Chart(
                "Age of the oldest message at hand",
                SECONDS,
                {"{{queue}}": "max by (queue) (sigma_consumer_lag_seconds)"},
            ),
            Chart(
                "Messages by outcome",
                PER_SECOND,
                {
                    "{{queue}} {{outcome}}": "sum by (queue, outcome)"
                    " (rate(sigma_consumed_events_total[5m]))"
                },
            ),
            Chart(
                "Dead letters",
                COUNT,
                {"{{queue}}": "max by (queue) (sigma_dead_letters)"},
                "Each needs somebody: see the runbook.",
            ),
        ],
        "Webhooks": [
            Chart(
                "Requests to receivers",
                PER_SECOND,
                {"{{outcome}}": "sum by (outcome) (rate(sigma_webhook_attempts_total[5m]))"},
            ),
            Chart(
                "Longest that a delivery is due",
                SECONDS,
                {"due": "max(sigma_webhook_oldest_due_seconds)"},
            ),
            Chart(
                "Events taken for webhooks",
                PER_SECOND,
                {"taken": "sum(rate(sigma_webhook_events_total[5m]))"},
            ),
            Chart(
                "Webhooks paused, and events lost",
                COUNT,
                {
                    "paused": "max(sigma_webhooks_paused)",
                    "lost events": "sum(increase(sigma_webhook_gaps_total[1h]))",
                },
            ),
        ],
        "Background jobs": [
            Chart("Jobs that have work left", COUNT, {"{{kind}}": "max by (kind) (sigma_jobs)"}),
            Chart(
                "Age of the oldest job",
                SECONDS,
                {"{{kind}}": "max by (kind) (sigma_job_oldest_age_seconds)"},
            ),
            Chart(
                "Slices of work",
                PER_SECOND,
                {"{{kind}}": "sum by (kind) (rate(sigma_job_slices_total[5m]))"},
            ),
        ],
        "Export jobs and channels": [
            Chart(
                "Runs of export jobs that ended",
                COUNT,
                {
                    "{{outcome}}": "sum by (outcome) (increase(sigma_export_runs_ended_total[1h]))",
                    "gave way": "sum(increase(sigma_export_runs_gave_way_total[1h]))",
                    "skipped": "sum(increase(sigma_export_schedules_skipped_total[1h]))",
                },
                "In the last hour.",
            ),
            Chart(
                "Runs under way, and how late the next one is",
                COUNT,
                {
                    "under way": "sum(sigma_export_runs_running)",
                    "seconds late": "max(sigma_export_schedule_late_seconds)",
                },
            ),
            Chart(
                "Duration of runs (95 of 100)",
                SECONDS,
                {
                    "runs": "histogram_quantile(0.95,"
                    " sum by (le) (rate(sigma_export_run_seconds_bucket[1h])))"
                },
            ),
            Chart(
                "Synchronisations that ended",
                COUNT,
                {
                    "{{type}} {{direction}} {{status}}": "sum by (type, direction, status)"
                    " (increase(sigma_sync_runs_total[1h]))"
                },
                "In the last hour.",
            ),
            Chart("Synchronisations under way", COUNT, {"sum": "sum(sigma_sync_running)"}),
        ],
        "Callers": [
            Chart(
                "Identities that gateways look up",
                PER_SECOND,
                {"{{outcome}}": "sum by (outcome) (rate(sigma_identity_lookups_total[5m]))"},
            ),
            Chart(
                "Identities that events have made invalid",
                PER_SECOND,
                {"evicted": "sum(rate(sigma_identity_evictions_total[5m]))"},
            ),
            Chart(
                "Secrets that an old key seals",
                COUNT,
                {"secrets": "max(sigma_secrets_old)"},
                "0 before an old key may be removed.",
            ),
        ],
    },
)
