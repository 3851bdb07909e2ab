"""Handles SIGTERM and SIGINT while a process is still starting.

PID 1 of a container has no default action for signals: until it sets handlers, the kernel drops
SIGTERM, and the sender waits for the whole grace period. Importing the modules of a service takes a
second, so this comes first in every `__main__`. It imports nothing that takes time.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def exit_on_signal(status: int = 0) -> None:
    """From now on, SIGTERM and SIGINT end the process at once, with this exit status.

    `shared.launch` replaces these handlers as soon as there is work to finish.
    """

    def end(_signal: int, _frame: FrameType | None) -> None:
        # Not SystemExit: modules that are being imported could catch it.
        os._exit(status)

    for name in STOP_SIGNALS:
        signal.signal(name, end)
