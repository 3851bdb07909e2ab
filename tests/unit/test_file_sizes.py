"""A test file is about one topic, and short enough to be read in one go."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
LINES_MAX = 500


def test_no_file_of_tests_is_longer_than_can_be_read_in_one_go():
    lengths = {
        str(path.relative_to(TESTS)): len(path.read_text().splitlines())
        for path in TESTS.rglob("*.py")
    }
    too_long = {path: lines for path, lines in lengths.items() if lines > LINES_MAX}
    assert not too_long, f"split them at their topics: {too_long}"
