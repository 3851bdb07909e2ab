from __future__ import annotations

from tests.kit import identities
from tests.kit.sigma import error
from workflow_service.app import create_app
from workflow_service.config import Config


async def test_a_missing_workflow_is_told_by_name(services):
    workflow = await services.start(create_app, Config)
    editor = workflow.as_(identities.user(role="role-editor"))
    answer = await editor.get("/workflows/wf-x")
    assert answer.told == error(404, "NOT_FOUND", "Workflow 'wf-x' not found")
