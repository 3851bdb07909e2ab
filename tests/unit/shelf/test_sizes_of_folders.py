"""No folder of a service swells, and no file needs scrolling through two things (ARCHITECTURE)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("gateway", "auth_service", "records_service", "workflow_service")
SHARE_MAX = 0.15
FOLDER_LINES_MAX = 700
"""Of a folder in a service so small that this is more than its share."""
FILE_LINES_MAX = 400


def lines(service: str) -> dict[Path, int]:
    """The Python files of a service without its migrations, each with its number of lines."""
    files = (path.relative_to(ROOT) for path in sorted((ROOT / service).rglob("*.py")))
    return {
        path: len((ROOT / path).read_text().splitlines())
        for path in files
        if path.parts[1] != "migrations"
    }


def too_large(lengths: dict[Path, int]) -> dict[str, int]:
    """The folders of one service that hold more than they may."""
    folders = Counter[str]()
    for path, length in lengths.items():
        if len(path.parts) > 2:
            folders[path.parts[1]] += length
    largest = max(FOLDER_LINES_MAX, SHARE_MAX * sum(lengths.values()))
    return {folder: length for folder, length in folders.items() if length > largest}


@pytest.mark.parametrize("service", FOLDERS)
def test_no_folder_holds_more_than_its_share(service: str):
    assert too_large(lines(service)) == {}


def test_a_swollen_folder_is_found():
    assert too_large({Path("s/a/x.py"): 500, Path("s/a/y.py"): 201, Path("s/b/x.py"): 500}) == {
        "a": 701
    }
    assert too_large({Path("s/a/x.py"): 1_500, Path("s/app.py"): 8_500}) == {}
    assert too_large({Path("s/a/x.py"): 1_501, Path("s/app.py"): 8_499}) == {"a": 1_501}


@pytest.mark.parametrize("service", (*FOLDERS, "shared", "deploy"))
def test_no_file_is_longer_than_a_reader_holds(service: str):
    assert {str(path): n for path, n in lines(service).items() if n > FILE_LINES_MAX} == {}
