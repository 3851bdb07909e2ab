"""Reconciliation of retired states with records_service.

A revision of a workflow that dies leaves states retired which the workflow still has; without this
no record could enter them. Every worker may run it: each takes other retirements.
"""

from __future__ import annotations

from typing import Final

import structlog
from aiohttp import web

from shared.database import DATABASE
from shared.errors import ApiError
from workflow_service.clients import claim_retirements, reinstate_retirement
from workflow_service.config import Config
from workflow_service.retirements.model import Retirement
from workflow_service.workflows import store

log = structlog.get_logger(__name__)

RETIREMENTS_AT_ONCE: Final = 50


async def reinstate_abandoned(app: web.Application, config: Config) -> int:
    """Take back what was retired for revisions that died; for how many workflows that was.

    Looks at those which nobody looked at for longest, and at the others the next time.
    """
    due = await claim_retirements(app, config.retirement_pending_seconds, RETIREMENTS_AT_ONCE)
    return sum([await _reinstate(app, retirement) for retirement in due])


async def _reinstate(app: web.Application, retirement: Retirement) -> bool:
    """Whether this revision was dead.

    A revision holds its workflow's row from before it retires states until its version is there:
    who holds the row and does not find the version knows that it will never come. When the version
    is there, the event of it ends the retirement.
    """
    try:
        async with app[DATABASE].transaction() as conn:
            known = await store.get_unless_revised(
                conn, retirement.workspace_id, retirement.workflow_id
            )
            if known is None or known.version >= retirement.version:
                return False
            return await reinstate_retirement(app, retirement)
    except ApiError as error:
        # It becomes due again; what belongs to other workspaces need not wait for that.
        log.warning("states_stay_retired", workflow_id=retirement.workflow_id, error=error.message)
        return False
