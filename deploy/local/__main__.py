"""`python -m deploy.local`: what `make run` starts; see deploy/local/command.py."""

import signal
import sys


def _start() -> int:
    # Ctrl-C while Python still reads modules: nothing runs yet, and nobody wants to see a trace.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from deploy.local.command import main  # noqa: PLC0415  takes a second, in which Ctrl-C may come

    return main()


if __name__ == "__main__":
    sys.exit(_start())
