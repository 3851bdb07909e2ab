"""How much may one page of a list hold? Five hundred records of ten megabytes are too many.

The statement that reads a page adds up what it found and leaves out the documents beyond the bound,
so they never reach this process. A shorter page would be taken for the end of the list by a client
that counts in `limit`: so the request is refused, and told how many would fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from shared.errors import ValidationError

PAGE_BYTES_MAX: Final = 16 << 20


def check_fits(documents: Sequence[Any]) -> None:
    """Raise `ValidationError` when a document of the page was left out (None)."""
    if None in documents:
        raise ValidationError.at(
            "/limit",
            f"Field 'limit' asks for more than {PAGE_BYTES_MAX} bytes from here:"
            f" expected at most {documents.index(None)}, got {len(documents)}",
        )
