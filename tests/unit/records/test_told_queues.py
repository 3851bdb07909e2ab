"""Which queues `records_service.feed.telling_again` tells, and which it refuses."""

from __future__ import annotations

import pytest

from records_service.feed import telling_again
from shared.messaging import topology


def test_the_services_that_are_told_are_those_that_hear_of_schemas():
    hearing = {
        queue.name
        for queue in topology.QUEUES
        if any(topology.matches(binding, "schema.created") for binding in queue.bindings)
    }
    assert set(telling_again.HEARERS) == hearing


@pytest.mark.parametrize("queue", ["records_service", "records_service.jobs", "auth_service.dead"])
def test_a_queue_that_cannot_handle_events_of_the_feed_is_refused(
    queue: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        telling_again.main(["--queue", queue])
    assert ended.value.code == 2
    assert (
        f"argument --queue: '{queue}' does not take events of the feed: expected auth_service,"
        " workflow_service or a queue of your own"
    ) in capsys.readouterr().err
