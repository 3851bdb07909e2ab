"""How long a process may need to stop."""

from __future__ import annotations

from deploy.kubernetes.check.capacity import STOP_S


def test_a_process_stops_within_25_seconds_after_its_drain():
    """As docs/operations.md ("Stopping") and the manifests say."""
    assert STOP_S <= 25
