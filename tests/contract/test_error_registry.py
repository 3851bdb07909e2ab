"""The error classes, their table in docs/errors.md and the trip over the wire agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.errors import BY_CODE, ApiError, InternalError, from_envelope

ROWS = re.findall(
    r"^\| (\d{3}) \| `([A-Z_]+)` \| (.+) \|$",
    (Path(__file__).parents[2] / "docs" / "errors.md").read_text(),
    flags=re.MULTILINE,
)


def test_the_documentation_lists_every_error_and_no_other():
    assert [(int(status), code, meaning) for status, code, meaning in ROWS] == [
        (kind.status, kind.code, kind.meaning) for kind in BY_CODE.values()
    ]


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=lambda kind: kind.code)
def test_an_error_arrives_as_it_left(kind: type[ApiError]):
    sent = kind("Entity 'ent-x' says no")
    arrived = from_envelope(sent.status, sent.envelope(), sent.headers)
    assert type(arrived) is kind
    assert (arrived.message, arrived.headers) == (sent.message, sent.headers)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (502, None),
        (500, "<html>"),
        (404, {"error": "NOT_FOUND"}),
        (404, {"error": "CONFLICT", "message": "of another status"}),
        (404, {"error": ["NOT_FOUND"], "message": "x"}),
        (418, {"error": "TEAPOT", "message": "x"}),
        (404, {"error": "NOT_FOUND", "message": {"no": "text"}}),
    ],
)
def test_what_is_no_envelope_is_told_as_an_internal_error(status, body):
    error = from_envelope(status, body)
    assert type(error) is InternalError
    assert error.message == "Internal server error"
