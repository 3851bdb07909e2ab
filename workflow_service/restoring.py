"""What workflow_service does when its database was restored (shared/database/restored.py)."""

from __future__ import annotations

from collections.abc import Sequence

from shared.database import Conn
from shared.database.incarnations import Incarnation
from workflow_service.names import store as names
from workflow_service.references import store as references
from workflow_service.workflows import commands as workflows


async def repair(conn: Conn, _begun: Incarnation) -> Sequence[str]:
    """Compare all references to workflows with the schemas, and tell every workflow again."""
    await references.doubt_all(conn)
    await names.doubt_all(conn)
    told = await workflows.tell_all(conn)
    return [f"references are compared within a minute; workflows that are told of again: {told}"]
