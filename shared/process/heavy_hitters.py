"""Finds the heaviest of any number of keys in bounded memory (Misra and Gries)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

KEPT: Final = 256
LEAST: Final = 1e-6
"""What has faded below this is forgotten."""


class HeavyHitters:
    """Sums of weights, of the keys that have most.

    A sum is too small by at most the total of all weights divided by `kept`: so a key with more
    than that is never missed. Twice as many keys as `kept` are held at most.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._sums: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._sums)

    def add(self, key: str, weight: float) -> None:
        """Add to the sum of a key; costs the same on average, however many keys there are."""
        sums = self._sums
        if key in sums:
            sums[key] += weight
            return
        sums[key] = weight
        if len(sums) > 2 * self._kept:
            # Half of them lose all they have, and all others as much: from `kept` at least.
            cut = sorted(sums.values())[self._kept]
            self._sums = {each: held - cut for each, held in sums.items() if held > cut}

    def heaviest(self, count: int, favoured: Collection[str] = ()) -> list[str]:
        """The keys with the largest sums, those `favoured` at twice theirs; the largest first."""
        sums = {
            key: held * 2 if key in favoured else held for key, held in self._sums.items() if held
        }
        return sorted(sums, key=lambda key: (-sums[key], key))[:count]

    def fade(self) -> None:
        """Halve all sums, so that what was long ago counts little."""
        self._sums = {key: held / 2 for key, held in self._sums.items() if held / 2 > LEAST}
