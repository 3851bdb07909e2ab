"""Decides how long an address must wait before its next login is looked at.

Every attempt counts as a failure from the moment it is claimed, before the password is looked at,
so that fifty guesses at once are no more than fifty guesses one after the other. A login that
succeeds takes the count away. Addresses that nobody has are counted like all others: the delay
tells nothing about who has an account.

The price is that an address under attack makes its owner wait as well. That is why the delay ends
at a minute and nobody is ever locked out.
"""

from __future__ import annotations

import math
from typing import Final

FREE_FAILURES: Final = 5
FIRST_DELAY_S: Final = 1
DELAY_MAX_S: Final = 60
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


def retry_after_s(left_s: float) -> int:
    """What `Retry-After` says: whole seconds, not too few of them, at least one."""
    return max(1, math.ceil(left_s))
