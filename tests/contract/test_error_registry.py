"""The error classes, their table in docs/errors.md and the trip over the wire agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.openapi import error_page
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


def test_the_page_says_what_the_documentation_says():
    made = error_page.written(error_page.ERRORS_FILE.read_text())
    assert error_page.PAGE_FILE.read_bytes() == made, "make openapi"


@pytest.mark.parametrize("code", BY_CODE)
def test_every_error_is_explained(code: str):
    """Cause, remedy, whether to send it again; and the status is the one of the registry."""
    _, _, section = error_page.ERRORS_FILE.read_text().partition(f"\n### {code}\n")
    section = section.partition("\n#")[0]
    assert f"Status {BY_CODE[code].status}." in section
    for part in ("- **Cause:** ", "- **Remedy:** ", "- **Retry?** "):
        assert part in section, part


def test_an_error_without_explanation_makes_no_page():
    text = error_page.ERRORS_FILE.read_text()
    with pytest.raises(ValueError, match="CONFLICT"):
        error_page.written(text.replace("### CONFLICT", "### CONFLICTS"))


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
