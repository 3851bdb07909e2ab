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
ONE_NODE_ONLY: Final = Bug(
    "a process that has lost its node asks for that node again and for no other",
    (
        Change(
            "shared/messaging/connection.py",
            "        self._urls.rotate(random.randrange(len(self._urls)))  # noqa: S311\n",
            "",
        ),
        Change("shared/messaging/connection.py", "            self._urls.rotate(-1)\n", ""),
    ),
)
SILENCE_IS_WAITED_OUT: Final = Bug(
    "a connection whose server is silent is kept until its own time limits are over",
    (
        Change(
            "shared/process/silence.py",
            'if sys.platform != "linux" or',
            "if True or",
        ),
        # Without these, silent channels tell it early enough.
        Change(
            "shared/messaging/publishing.py",
            "PUBLISH_TIMEOUT_S: Final = 10.0",
            "PUBLISH_TIMEOUT_S: Final = 100.0",
        ),
        Change("shared/messaging/sessions.py", "if isinstance(error, NoChannel):", "if False:"),
    ),
)
BUGS: Final = (BEFORE_THE_STANDBY_HAS_IT, DEMOTED_AND_KEPT, ONE_NODE_ONLY, SILENCE_IS_WAITED_OUT)
