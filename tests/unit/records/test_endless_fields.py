"""Fields of fields are bounded before each of them is read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from records_service.attributes.model import AttributeDraft
from shared.errors import ValidationError
from shared.http.requests import parse_body


def draft(levels: int, besides: int) -> bytes:
    """Fields with fields, each list with as many others that are wrong."""
    fields: list[Any] = [{"alias": 1}] * besides
    for _ in range(levels - 1):
        inner = {"alias": "a", "type": "complex", "attributes": fields}
        fields = [inner, *({} for _ in range(besides))]
    return orjson.dumps({"alias": "a", "name": "A", "type": "complex", "attributes": fields})


@pytest.mark.parametrize(("levels", "besides"), [(40, 1), (40, 101), (5, 101), (3, 5_000)])
def test_endless_fields_are_refused_before_they_are_read(levels: int, besides: int):
    """Reading them would take minutes: what is wrong was looked for twice on each level."""
    with pytest.raises(ValidationError, match="Field 'attributes' must have at most"):
        parse_body(draft(levels, besides), AttributeDraft)
