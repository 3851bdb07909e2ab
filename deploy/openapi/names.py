"""Names of operations, texts from docstrings, and texts that many operations share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from shared.http.routes import Route

_WITHOUT_READ: Final = "An API key without the permission `read` gets only"


def without_read(*, has_id: bool, has_version: bool) -> str:
    """What a key that may write and not read is answered to a write."""
    if not has_id:
        return f"{_WITHOUT_READ} `{{}}`."
    version = ", and the version as `ETag`" if has_version else ""
    return f'{_WITHOUT_READ} the `id`, `{{"id": "..."}}`{version}.'


def operation_ids(routes: Sequence[Route]) -> list[str]:
    """The handlers' names, with the tag before those that two features share."""
    names = [_camel(route.handler.__name__) for route in routes]
    counted = Counter(names)
    ids = [
        name if counted[name] == 1 else _camel(f"{route.tag} {route.handler.__name__}")
        for name, route in zip(names, routes, strict=True)
    ]
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise ValueError(f"two handlers of one feature are named alike: {', '.join(twice)}")
    return ids


def _camel(name: str) -> str:
    first, *rest = re.split(r"[\W_]+", name.strip("_"))
    return first.lower() + "".join(word.capitalize() for word in rest)


def paragraph(text: str) -> str:
    """A docstring without the indentation of the code that it stands in."""
    return "\n".join(line.strip() for line in text.strip().splitlines())
