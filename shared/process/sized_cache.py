"""A cache that is bounded by what its values hold, not only by their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cachetools import LRUCache

K = TypeVar("K")
V = TypeVar("V")


class SizedCache(LRUCache[K, V]):
    """The values that were used last: of at most `size_max` in all, and about `count_max` of them.

    `size_of` is the size of a value, such as its bytes. One that is smaller than
    `size_max / count_max` counts as that much, because its key and the objects around it need
    memory too. Not for several threads at once.
    """

    def __init__(self, size_max: int, count_max: int, size_of: Callable[[V], int]) -> None:
        share = max(1, size_max // count_max)
        super().__init__(size_max, lambda value: max(share, size_of(value)))

    def keep(self, key: K, value: V) -> None:
        """Put the value in place of an older one; one larger than the whole cache is not kept."""
        try:
            self[key] = value
        except ValueError:
            self.pop(key, None)
