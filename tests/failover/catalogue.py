"""Every failover, with the bug that has to turn it red."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.failover import broker, database
from tests.failover.planted import (
    BEFORE_THE_STANDBY_HAS_IT,
    DEMOTED_AND_KEPT,
    ONE_NODE_ONLY,
    SILENCE_IS_WAITED_OUT,
)
from tests.faults.catalogue import HARD, Experiment
from tests.faults.checker import Kind
from tests.faults.experiments import FULL
from tests.faults.experiments import SHORT as SHORT_FAULTS

FULL_FORM: Final = replace(FULL, server_kills=6, clients=18)
"""About 100 writes a second, on a machine that has the time for them."""
SHORT: Final = replace(SHORT_FAULTS, server_kills=2, clients=18)

DATABASE: Final = (
    Experiment(
        "kill-primary",
        database.kill_primary,
        BEFORE_THE_STANDBY_HAS_IT,
        Kind.LOST_WRITE,
        replace(HARD, server_kills=2),
    ),
    Experiment(
        "demote-primary",
        database.demote_primary,
        DEMOTED_AND_KEPT,
        Kind.LATE,
        replace(HARD, server_kills=1),
    ),
    Experiment(
        "cut-primary",
        database.cut_primary,
        SILENCE_IS_WAITED_OUT,
        Kind.LATE,
        replace(HARD, server_kills=1),
        cuts=True,
    ),
)
BROKER: Final = (
    Experiment(
        "kill-leader",
        broker.kill_leader,
        ONE_NODE_ONLY,
        Kind.LATE,
        replace(HARD, server_kills=1),
    ),
    Experiment(
        "restart-nodes",
        broker.restart_nodes,
        ONE_NODE_ONLY,
        Kind.LATE,
        replace(HARD, server_kills=1),
    ),
    Experiment(
        "cut-minority",
        broker.cut_minority,
        SILENCE_IS_WAITED_OUT,
        Kind.LATE,
        replace(HARD, server_kills=1),
        cuts=True,
    ),
)
EXPERIMENTS: Final = (*BROKER, *DATABASE)
