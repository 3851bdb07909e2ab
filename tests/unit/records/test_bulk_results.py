"""What the results of a bulk call hold on to."""

from __future__ import annotations

from records_service.bulk.judging import failed
from shared.errors import NotFound


def test_a_failed_row_keeps_no_frames():
    """They would name the results in turn, and only the garbage collector would end that."""
    results = []
    try:
        raise NotFound.of("Entity", "ent-none")
    except NotFound as error:
        results.append(failed(0, error, "ent-none"))
    assert results[0].error is not None
    assert results[0].error.__traceback__ is None
