"""Bugs that show only where servers take over from each other."""

from __future__ import annotations

from typing import Final

from tests.faults.planted import Bug, Change

BEFORE_THE_STANDBY_HAS_IT: Final = Bug(
    "writes are acknowledged before the standby has them",
    (
        Change(
            "shared/database/connection.py",
            '"jit": "off",',
            '"jit": "off", "synchronous_commit": "local",',
        ),
    ),
)
DEMOTED_AND_KEPT: Final = Bug(
    "the pool keeps its connections to a primary that was demoted",
    (
        Change(
            "shared/database/pool.py",
            "if conn not in self._outdated and conn.was_demoted(error):",
            "if False:",
        ),
    ),
)
BUGS: Final = (BEFORE_THE_STANDBY_HAS_IT, DEMOTED_AND_KEPT)
