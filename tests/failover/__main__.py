"""Loses the servers that lead while clients write, and says whether anything promised was lost.

    python -m tests.failover                    every experiment, one after the other
    python -m tests.failover kill-primary       this one only
    python -m tests.failover --short            each server is lost once or twice
    python -m tests.failover --planted          each with a bug planted that has to turn it red

`ENGINES=trixie`: with the servers of that release of Debian instead of those that are installed.

Exit codes: 0 everything is as it has to be; 1 something is not; 2 usage error.
"""

from __future__ import annotations

import os
import sys

from deploy.local.binaries import PROGRAMS
from deploy.local.failure import StartFailed
from tests.failover.catalogue import EXPERIMENTS, FULL_FORM, SHORT
from tests.failover.servers import SeveralServers
from tests.faults.program import Suite, run_suite
from tests.kit import engines
from tests.kit.servers import Servers


def _servers(_isolated: bool) -> Servers:
    return SeveralServers()


FAILOVER = Suite(
    module="tests.failover",
    doc=__doc__,
    experiments=EXPERIMENTS,
    full=FULL_FORM,
    short=SHORT,
    servers=_servers,
    cuts_services=False,
)


def main() -> int:
    """With the servers that the environment asks for."""
    suite = os.environ.get("ENGINES")
    if suite and PROGRAMS not in os.environ:
        try:
            os.environ[PROGRAMS] = str(engines.programs(suite))
        except StartFailed as failure:
            sys.stderr.write(f"{failure}\n")
            return 1
    return run_suite(FAILOVER)


if __name__ == "__main__":
    sys.exit(main())
