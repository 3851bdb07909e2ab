"""Every experiment, with the bug that has to turn it red, and further bugs of some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tests.faults import (
    background,
    experiments,
    exports,
    frozen,
    full_wal,
    planted,
    syncs,
    webhooks,
)
from tests.faults.checker import Kind
from tests.faults.experiments import FULL, Fault, Form
from tests.faults.listeners import Ear
from tests.faults.planted import Bug
from tests.kit.sigma import Caller
from tests.kit.stack import RECORDS


@dataclass(frozen=True, slots=True)
class Experiment:
    """`name` for the command line; the rest is what `run.py` needs to know."""

    name: str
    fault: Fault
    bug: Bug
    finds: Kind
    """What the checker has to say of the bug."""
    planted_form: Form
    """Enough to meet the bug for certain."""
    gateway_dies: bool = False
    """Whether a request may go without any answer."""
    cuts: bool = False
    """Whether it needs a network, or mounts, of its own."""
    exports: bool = False
    """Whether it needs an SFTP server."""
    more_ears: tuple[tuple[str, Callable[[Caller], Ear]], ...] = ()
    """Listeners beside the bus and the feed."""


HARD: Final = replace(
    FULL,
    kills=8,
    server_kills=3,
    away_s=5,
    silent_s=5,
    writes=0,
    patience_s=20,
    clients=32,
    pause_s=0.0,
)
"""Many writes are under way at each moment, so that a kill certainly meets one."""
KILLED_WHILE_IT_ANSWERS: Final = replace(HARD, kills=12, victims=(RECORDS,))
"""Such a bug shows only if records_service dies after a commit and before its answer."""

EXPERIMENTS: Final = (
    Experiment(
        "kill-services",
        experiments.kill_services,
        planted.RETRY_WITHOUT_IDEMPOTENCY,
        Kind.DOUBLED,
        KILLED_WHILE_IT_ANSWERS,
        gateway_dies=True,
    ),
    Experiment(
        "kill-postgres",
        experiments.kill_postgres,
        planted.COMMIT_BEFORE_IT_IS_DURABLE,
        Kind.LOST_WRITE,
        HARD,
    ),
    Experiment(
        "kill-broker",
        experiments.kill_broker,
        planted.DELETE_BEFORE_CONFIRM,
        Kind.LOST_EVENT,
        HARD,
    ),
    Experiment(
        "without-postgres",
        experiments.without_postgres,
        planted.ENVELOPE_WITH_A_CAUSE,
        Kind.ANSWER,
        HARD,
    ),
    Experiment(
        "without-broker",
        experiments.without_broker,
        planted.NEWEST_FIRST,
        Kind.INVERSION,
        HARD,
    ),
    Experiment(
        "stop-broker",
        experiments.stop_broker,
        planted.SILENCE_IS_CONSENT,
        Kind.LOST_EVENT,
        replace(HARD, silent_s=25),
    ),
    Experiment(
        "cut-broker",
        experiments.cut_off_broker,
        planted.SILENCE_IS_CONSENT,
        Kind.LOST_EVENT,
        replace(HARD, silent_s=30),
        cuts=True,
    ),
    Experiment(
        "cut-postgres",
        experiments.cut_off_postgres,
        planted.ENVELOPE_WITH_A_CAUSE,
        Kind.ANSWER,
        replace(HARD, silent_s=20),
        cuts=True,
    ),
    Experiment(
        "kill-import",
        background.kill_in_an_import,
        planted.ACKNOWLEDGE_BEFORE_COMMIT,
        Kind.UNFINISHED,
        replace(HARD, pause_s=0.5, clients=4),
    ),
    Experiment(
        "kill-apply",
        background.kill_in_an_application,
        planted.ATTEMPT_IS_FORGOTTEN,
        Kind.DOUBLED,
        replace(HARD, pause_s=0.5, clients=4, server_kills=8),
    ),
    Experiment(
        "poison",
        experiments.poison,
        planted.POISON_IS_SWALLOWED,
        Kind.SET_ASIDE,
        replace(HARD, writes=8_000, pause_s=0.05),
    ),
    Experiment(
        "full-disk",
        experiments.full_disk,
        planted.NEW_ID_WHEN_SENT_AGAIN,
        Kind.DOUBLED,
        replace(HARD, silent_s=20),
    ),
    Experiment(
        "full-wal",
        full_wal.fill_the_wal,
        planted.ENVELOPE_WITH_A_CAUSE,
        Kind.ANSWER,
        replace(HARD, away_s=2),
        cuts=True,
    ),
    Experiment(
        "webhook-storm",
        webhooks.storm,
        planted.RETRIED_DELIVERIES_HOLD_UP_NOBODY,
        Kind.INVERSION,
        replace(HARD, server_kills=1, patience_s=40),
        more_ears=(("webhook", webhooks.WebhookEar),),
    ),
    Experiment(
        "kill-export",
        exports.kill_in_export_runs,
        planted.HALF_FILE_IN_PLACE,
        Kind.HALF_FILE,
        replace(HARD, pause_s=0.5, clients=4, patience_s=40, rows=4_000),
        exports=True,
    ),
    Experiment(
        "kill-sync",
        syncs.kill_in_syncs,
        planted.LOST_CREATES_ARE_FORGOTTEN,
        Kind.DOUBLED,
        replace(HARD, pause_s=0.5, clients=4, patience_s=40, rows=4_000),
    ),
    Experiment(
        "freeze-worker",
        frozen.freeze_the_worker,
        planted.HOLD_FOR_EVER,
        Kind.DOUBLED,
        replace(HARD, pause_s=0.5, clients=4, patience_s=60, rows=4_000),
        exports=True,
        more_ears=(("webhook", webhooks.WebhookEar),),
    ),
)
BY_NAME: Final = {experiment.name: experiment for experiment in EXPERIMENTS}
ALSO_PLANTED: Final = (
    replace(
        BY_NAME["kill-services"],
        bug=planted.NOT_ANSWERED_IS_REFUSED,
        finds=Kind.FALSE_REFUSAL,
        planted_form=KILLED_WHILE_IT_ANSWERS,
    ),
    replace(BY_NAME["kill-sync"], bug=planted.FAR_BEFORE_IT_IS_DONE, finds=Kind.NOT_COPIED),
    replace(BY_NAME["kill-broker"], bug=planted.VERSION_BEFORE, finds=Kind.FALSE_EVENT),
)
"""Experiments with a second bug, so that each violation that the checker knows has one."""
