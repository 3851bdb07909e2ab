"""Ends a connection whose other side has fallen silent, as a machine without power or network does.

Such a machine refuses nothing. TCP would repeat what was sent for a quarter of an hour, and wait
for an answer for ever; the limits of the protocols above are those of the slowest answer. Here the
other kernel is asked, which acknowledges at once, however busy its server is: a server that works
on a statement for ten seconds, or hangs, is not silent in this sense.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Final

SILENT_S: Final = 5.0
"""Longer than the pauses of a virtual machine that is being moved. What is lost on its way is
repeated four times until then, first after 0.2 s."""
ASKED_AFTER_S: Final = 2
ASKED_EVERY_S: Final = 1


def end_when_silent(transport: asyncio.BaseTransport) -> None:
    """Lose this connection (`TimeoutError`) if the other side acknowledges nothing for `SILENT_S`.

    An idle connection is asked whether it is still there. Where the system cannot do this, the
    limits of the protocol above have to do.
    """
    sock = transport.get_extra_info("socket")
    if sys.platform != "linux" or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ASKED_AFTER_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASKED_EVERY_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENT_S * 1000))
