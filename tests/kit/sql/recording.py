"""Every SQL text that the services execute in this process, judged by the rules when it is new.

asyncpg's connection is patched. A text belongs to the function of records_service, workflow_service
or shared that executes it; what tests execute themselves is not looked at. auth_service stays on
plain PostgreSQL.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Final

import asyncpg
import pytest

from deploy.citus.tables import ON_ONE_MACHINE
from tests.kit.sql.exceptions import OF_ANOTHER_KIND, SPANNING
from tests.kit.sql.rules import Rule, judged

ROOT: Final = Path(__file__).resolve().parents[3]
CHECKED: Final = ("records_service", "workflow_service", "shared")
METHODS: Final = ("execute", "executemany", "fetch", "fetchrow", "fetchval", "prepare")
WRAPPERS: Final = frozenset(
    str(ROOT / "shared" / "database" / name) for name in ("connection.py", "planned.py", "pool.py")
)
"""Their callers execute the statement."""
EXCEPTIONS: Final = {Rule.ONE_WORKSPACE: SPANNING, Rule.KNOWN: OF_ANOTHER_KIND}
NOT_AS_SERVICE: Final = ("migrations", "alembic_env")


@dataclass
class Recorder:
    """What was executed, and what of it breaks a rule."""

    broken: list[str] = field(default_factory=list)
    """Messages that no test has reported yet."""
    _workspaces: dict[int, str] = field(default_factory=dict)
    _known: set[tuple[str, str]] = field(default_factory=set)

    def note(self, conn: Any, frame: FrameType | None, sql: str, arguments: Any) -> None:
        """A statement is about to be executed by the code of this frame."""
        while frame is not None and frame.f_code.co_filename in WRAPPERS:
            frame = frame.f_back
        if sql.startswith(("BEGIN", "COMMIT", "ROLLBACK;")):
            self._workspaces.pop(id(conn), None)
        if frame is None or (file := _checked(frame.f_code.co_filename)) is None:
            return
        if f"_{ON_ONE_MACHINE[0]}_" in conn._params.database:
            # Code of `shared` that works for auth_service.
            return
        where = f"{file}:{frame.f_code.co_name}"
        self._judge(sql, where)
        self._one_workspace(conn, sql, where, arguments)

    def _judge(self, sql: str, where: str) -> None:
        if (sql, where) in self._known:
            return
        self._known.add((sql, where))
        for violation in judged(sql).violations:
            if where not in EXCEPTIONS.get(violation.rule, ()):
                self.broken.append(f"{where} executes what Citus does not: {violation}\n{sql}")

    def _one_workspace(self, conn: Any, sql: str, where: str, arguments: Any) -> None:
        """A transaction is about one workspace."""
        number = judged(sql).workspace
        if number is None or not conn.is_in_transaction() or not isinstance(arguments, tuple):
            return
        workspace = arguments[number - 1]
        if self._workspaces.setdefault(id(conn), workspace) != workspace:
            self.broken.append(f"{where}: one transaction is about two workspaces\n{sql}")


@cache
def _checked(file: str) -> str | None:
    path = Path(file)
    if not path.is_relative_to(ROOT):
        return None
    relative = path.relative_to(ROOT)
    if relative.parts[0] not in CHECKED or set(relative.parts) & set(NOT_AS_SERVICE):
        return None
    return str(relative)


def patch(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every connection tell the recorder what it executes."""
    for name in METHODS:
        monkeypatch.setattr(asyncpg.Connection, name, _noting(recorder, name))


def _noting(recorder: Recorder, name: str) -> Callable[..., Any]:
    original = getattr(asyncpg.Connection, name)

    def noting(self: Any, query: str, *arguments: Any, **more: Any) -> Any:
        values = None if name in ("executemany", "prepare") else arguments
        recorder.note(self, sys._getframe(1), query, values)
        return original(self, query, *arguments, **more)

    return noting
