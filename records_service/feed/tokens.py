"""Tokens: a place in the feed of one workspace, which a token of another workspace is none of."""

from __future__ import annotations

from shared.errors import ValidationError
from shared.http import cursors
from shared.http.cursors import NotACursor
from shared.http.messages import shown


def token(workspace_id: str, position: int) -> str:
    """The token of the place behind this position."""
    return cursors.encode(_query(workspace_id), 0, (position,))


def position(workspace_id: str, sent: str, name: str) -> int:
    """The position that a token stands for; `name` is where it came in.

    Raises `ValidationError` for a text that is no token of this workspace.
    """
    try:
        _, (found,) = cursors.decode(_query(workspace_id), sent, (int,))
    except NotACursor:
        found = None
    if not isinstance(found, int) or found < 0:
        raise ValidationError.at(
            f"/{name}",
            f"Field '{name}' expects a token from the change feed of this workspace,"
            f" got {shown(sent)}",
        )
    return found


def _query(workspace_id: str) -> bytes:
    return b"changes\0" + workspace_id.encode()
