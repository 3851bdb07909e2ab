"""Makes a process heed a request to stop before it can do anything else.

The first process of a PID namespace (that of a container) has no default action for signals: until
it sets handlers the kernel drops SIGTERM, and whoever sent it waits for the whole grace period.
Reading the modules of a service takes a second, so this comes first in every `__main__`. It imports
nothing that takes time.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def end_when_told(status: int = 0) -> None:
    """From now on SIGTERM and SIGINT end the process at once, with this status.

    For as long as there is nothing to finish; `shared.launch` puts its own handlers in their place.
    """

    def end(_signal: int, _frame: FrameType | None) -> None:
        # Not SystemExit: it would travel through half-read modules, and some catch everything.
        os._exit(status)

    for name in STOP_SIGNALS:
        signal.signal(name, end)
