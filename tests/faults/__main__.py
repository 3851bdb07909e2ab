"""Breaks the running system, and says whether anything that was promised was lost.

    python -m tests.faults                      every experiment in full, one after the other
    python -m tests.faults kill-broker poison   these only
    python -m tests.faults --short              few kills, short outages, no rolling restart
    python -m tests.faults --planted            each with a bug planted that has to turn it red

Exit codes: 0 everything is as it has to be; 1 something is not; 2 usage error.
"""

from __future__ import annotations

import sys

from tests.faults import isolation, restarts
from tests.faults.catalogue import ALSO_PLANTED, EXPERIMENTS
from tests.faults.experiments import FULL, SHORT
from tests.faults.program import Suite, run_suite
from tests.kit.servers import Servers


def _servers(isolated: bool) -> Servers:
    return Servers(own=True, also_on=tuple(isolation.ADDRESSES.values()) if isolated else ())


FAULTS = Suite(
    module="tests.faults",
    doc=__doc__,
    experiments=EXPERIMENTS,
    also_planted=ALSO_PLANTED,
    full=FULL,
    short=SHORT,
    servers=_servers,
    cuts_services=True,
    last=(restarts.NAME, restarts.roll),
)

if __name__ == "__main__":
    sys.exit(run_suite(FAULTS))
