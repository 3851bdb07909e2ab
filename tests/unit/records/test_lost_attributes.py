"""Only `model_changes` replaces or deletes schemas, or deletes attributes.

There it is remembered what a schema has lost (docs/adr/0028): elsewhere it would be forgotten.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3] / "records_service"
REMEMBERED = {("update", "SCHEMA"), ("delete", "SCHEMA"), ("delete", "ATTRIBUTE")}


def changes(source: str) -> list[tuple[str, str]]:
    """What this source calls: `store.update(conn, SCHEMA, ...)` is ("update", "SCHEMA")."""
    return [
        (node.func.attr, node.args[1].id)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Name)
    ]


def test_one_room_replaces_and_deletes_what_has_values():
    found = {
        (path.relative_to(ROOT).parts[0], *change)
        for path in ROOT.rglob("*.py")
        for change in changes(path.read_text())
        if change in REMEMBERED
    }
    assert found == {("model_changes", *change) for change in REMEMBERED}


def test_a_change_is_found():
    assert changes("await model_objects.delete(conn, SCHEMA, workspace_id, one)") == [
        ("delete", "SCHEMA")
    ]
