"""Statements that read or write more than one workspace, with the reason.

Citus runs them, on every node, so none of them is part of a request. The key is the file and the
function that executes the statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_RELAY = "the relay publishes the outbox of all workspaces"
_FEED = "one process places the events of all workspaces in their feeds"
_METRIC = "a metric of the whole installation, every five seconds"
_PARTITION = "a partition has the entries of all workspaces: it is needed if one needs it"
_DUE = "background work asks what is due in all workspaces, and claims it row by row"
_RESTORED = "after a restoration, of every workspace"
_DISPATCH = "one process sends to the webhooks of all workspaces"

SPANNING: Final[Mapping[str, str]] = {
    "shared/messaging/outbox_reading.py:read": _RELAY,
    "shared/messaging/outbox_reading.py:_with_earlier_versions": _RELAY,
    "shared/messaging/outbox_reading.py:delete": _RELAY,
    "shared/messaging/outbox_floor.py:_is_empty": _RELAY,
    "shared/messaging/outbox_metrics.py:measure_outbox": _METRIC,
    "shared/messaging/job_turns.py:_measure": _METRIC,
    "shared/messaging/jobs.py:resume_lost": _DUE,
    "shared/database/idempotency.py:remove_old": "answers of all workspaces that are old enough",
    "records_service/feed/store.py:place": _FEED,
    "records_service/feed/store.py:oldest_waiting": _METRIC,
    "records_service/feed/store.py:with_old_events": _DUE,
    "records_service/feed/positions.py:last_positions": "tells one asker of many workspaces",
    "records_service/history/retention/store.py:due": _DUE,
    "records_service/imports/store.py:expired": _DUE,
    "records_service/imports/store.py:waiting_beside_free_lanes": _DUE,
    "records_service/writes/history_partitions.py:has_entries": _PARTITION,
    "records_service/writes/history_partitions.py:is_needed": _PARTITION,
    "records_service/search_index/store.py:without_index": _DUE,
    "records_service/search_texts/waking_store.py:workspaces_behind": _DUE,
    "records_service/search_texts/waking_store.py:workspaces_changed": _DUE,
    "records_service/value_uses/store.py:workspaces_unknown": _DUE,
    "records_service/workflow_copies/store.py:claim_retirements": _DUE,
    "workflow_service/export_jobs/store.py:due": _DUE,
    "workflow_service/export_runs/store.py:until_next": _DUE,
    "workflow_service/references/store.py:claim_due": _DUE,
    "workflow_service/deliveries/store.py:oldest_due": _METRIC,
    "workflow_service/deliveries/store.py:waiting": _DISPATCH,
    "workflow_service/webhooks/store.py:page_of_all": _DISPATCH,
    "workflow_service/webhooks/store.py:paused": _METRIC,
    "workflow_service/leases.py:waiting": _DUE,
    "workflow_service/sync_runs/store.py:wake_inactive": _DUE,
    "shared/messaging/jobs.py:lose_messages": _RESTORED,
    "records_service/permissions/store.py:doubt_all": _RESTORED,
    "records_service/workflow_copies/store.py:doubt_all": _RESTORED,
    "records_service/feed/positions.py:last_changes": _RESTORED,
    "workflow_service/references/store.py:doubt_all": _RESTORED,
    "workflow_service/names/store.py:doubt_all": _RESTORED,
    "workflow_service/workflows/store.py:page_of_all": _RESTORED,
    "workflow_service/secrets/store.py:page": "after a change of keys, all secrets are sealed anew",
}

_PARTITIONS = "makes, attaches and drops partitions, which Citus does on every node (not tried)"
OF_ANOTHER_KIND: Final[Mapping[str, str]] = {
    "records_service/writes/history_partitions.py:add": _PARTITIONS,
    "records_service/writes/history_partitions.py:lock": _PARTITIONS,
}
"""Statements about tenant tables that are neither a query nor a change of rows."""
