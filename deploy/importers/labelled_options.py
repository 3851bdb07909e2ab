"""The options of a list of which the source knows the labels alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deploy.importers.names import Names


def labelled_options(names: Names, list_code: str, labels: Iterable[str]) -> list[dict[str, Any]]:
    """The `values` of the list's body, in the order of the labels."""
    return [
        {
            "id": names.option(list_code, label),
            # Within its list it needs no prefix.
            "alias": Names().alias(label),
            "label": label,
            "externalKey": names.external_key(label),
            "sortOrder": place,
        }
        for place, label in enumerate(labels)
    ]
