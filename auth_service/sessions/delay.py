"""Computes how long a login has to wait after failed attempts.

Every attempt counts as a failure from the moment it is claimed, before the password is looked at,
so that fifty guesses at once are no more than fifty guesses one after the other. A login that
succeeds takes the count away. Addresses that nobody has are counted like all others: the delay
tells nothing about who has an account.

Failures are counted for an e-mail address and a network together (`origins.py`), so that a guesser
slows down and the owner elsewhere does not. Guessing from many networks at once, and at many
addresses from one network, is slowed down by a count of the address alone and one of the network
alone: beyond a hundred failures they allow one attempt a second. Logins of an address from networks
and devices where it succeeded before are exempt from both.
"""

from __future__ import annotations

import math
from typing import Final

FREE_FAILURES: Final = 5
FIRST_DELAY_S: Final = 1
DELAY_MAX_S: Final = 60
STRANGERS_FREE_FAILURES: Final = 100
STRANGERS_DELAY_S: Final = 1
FORGOTTEN_AFTER_S: Final = 15 * 60


def delay_s(failures: int) -> int:
    """Seconds until the next attempt after this many failures in a row."""
    if failures < FREE_FAILURES:
        return 0
    # Beyond this exponent the delay is at its greatest anyway.
    doublings = min(failures - FREE_FAILURES, 16)
    return int(min(FIRST_DELAY_S * 2**doublings, DELAY_MAX_S))


def delays_s() -> list[int]:
    """The delay after the first failure, after the second and so on; the last one stays."""
    delays = [delay_s(1)]
    while delays[-1] < DELAY_MAX_S:
        delays.append(delay_s(len(delays) + 1))
    return delays


def strangers_delays_s() -> list[int]:
    """As `delays_s`, for an address in all networks, or a network for all addresses."""
    return [0] * (STRANGERS_FREE_FAILURES - 1) + [STRANGERS_DELAY_S]


def retry_after_s(left_s: float) -> int:
    """What `Retry-After` says: whole seconds, not too few of them, at least one."""
    return max(1, math.ceil(left_s))
