"""The events of records_service by which other services learn the names of the data model."""

from __future__ import annotations

from shared.events import Event

WS = "ws-test"


def named(
    kind: str,
    part_id: str,
    alias: str,
    model_version: int,
    *,
    others: tuple[str, ...] = (),
    former: tuple[str, ...] = (),
) -> Event:
    """The event that an attribute or schema of `WS` has this alias, since this model version."""
    data = {
        "id": part_id,
        "alias": alias,
        "version": model_version,
        "modelVersion": model_version,
        "othersNamed": list(others),
        "formerAliases": list(former),
    }
    return Event(kind, "/records_service", WS, part_id, data)
