from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from shared.identity import Identity
from tests.kit import identities
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, error
from tests.kit.workspace import workflow_body
from workflow_service.app import create_app
from workflow_service.config import Config

EDITOR = identities.user(role="role-editor")
CHIEF = identities.user(role="role-chief")
ADMIN = identities.admin()
KEY = identities.api_key(permissions=["read"])


async def _no_role_is_missing(_request: web.Request) -> web.Response:
    return web.json_response({"missing": []})


@pytest.fixture
async def service(services: Services) -> RunningService:
    auth = web.Application()
    auth.router.add_post("/internal/roles/missing", _no_role_is_missing)
    started = await services.start(create_app, Config, auth_url=await services.serve(auth))
    body = workflow_body(
        "lifecycle",
        ("draft", "review", "published"),
        [
            ("draft", "review", {"requiresCompleteness": 80, "allowedRoleIds": ["role-chief"]}),
            ("draft", "published", {"allowedRoleIds": ["role-admin"], "name": "Publish"}),
            ("review", "published", {"requiresCompleteness": 100}),
            ("review", "draft"),
        ],
    )
    (await started.as_(ADMIN).post("/workflows", body)).ok()
    return started


async def ask(
    service: RunningService,
    who: Identity,
    start: str,
    target: str | None = None,
    score: int = 100,
    **more: Any,
) -> Answer:
    question = {
        "definitionVersion": 1,
        "fromStateId": f"state-{start}",
        "scores": {"state-draft": score, "state-review": score, "state-published": score},
        **({} if target is None else {"toStateId": target}),
        **more,
    }
    path = "/internal/workflows/wf-lifecycle/evaluate"
    return await service.as_(who).post(path, question)


def refused(message: str) -> tuple[int, dict[str, str]]:
    return error(400, "TRANSITION_ERROR", message)


async def test_a_step_with_open_gates_is_allowed(service: RunningService):
    assert (await ask(service, CHIEF, "draft", "state-review", 80)).outcome == (
        200,
        {"allowed": True},
    )
    assert (await ask(service, EDITOR, "review", "state-draft", 0)).outcome == (
        200,
        {"allowed": True},
    )


async def test_an_undefined_step_is_refused(service: RunningService):
    assert (await ask(service, CHIEF, "published", "state-draft")).outcome == refused(
        "Transition from 'published' to 'draft' is not allowed"
    )
    assert (await ask(service, CHIEF, "draft", "state-moon")).outcome == refused(
        "Transition from 'draft' to 'moon' is not allowed"
    )


async def test_the_role_gate_is_told_before_the_score(service: RunningService):
    assert (await ask(service, EDITOR, "draft", "state-review", 0)).outcome == refused(
        "Role 'role-editor' is not allowed to transition from 'draft' to 'review'"
    )


async def test_a_score_below_the_minimum_is_refused(service: RunningService):
    assert (await ask(service, CHIEF, "draft", "state-review", 79)).outcome == refused(
        "Completeness score 79% does not meet minimum 80% for transition to 'review'"
    )


async def test_administrators_and_keys_pass_where_role_admin_is_named_and_not_elsewhere(
    service: RunningService,
):
    no_chief = refused("Role 'role-admin' is not allowed to transition from 'draft' to 'review'")
    for who in (ADMIN, KEY):
        assert (await ask(service, who, "draft", "state-published")).outcome == (
            200,
            {"allowed": True},
        )
        assert (await ask(service, who, "review", "state-draft")).outcome == (
            200,
            {"allowed": True},
        )
        assert (await ask(service, who, "draft", "state-review")).outcome == no_chief


async def test_the_listing_tells_every_step_and_all_that_blocks_it(service: RunningService):
    assert (await ask(service, EDITOR, "draft", score=50)).outcome == (
        200,
        {
            "transitions": [
                {
                    "toStateId": "state-review",
                    "allowed": False,
                    "reasons": [
                        {
                            "code": "ROLE",
                            "message": "Role 'role-editor' is not allowed to transition"
                            " from 'draft' to 'review'",
                        },
                        {
                            "code": "COMPLETENESS",
                            "message": "Completeness score 50% does not meet minimum 80%"
                            " for transition to 'review'",
                            "score": 50,
                            "minimum": 80,
                        },
                    ],
                },
                {
                    "toStateId": "state-published",
                    "name": "Publish",
                    "allowed": False,
                    "reasons": [
                        {
                            "code": "ROLE",
                            "message": "Role 'role-editor' is not allowed to transition"
                            " from 'draft' to 'published'",
                        }
                    ],
                },
            ]
        },
    )
    assert (await ask(service, EDITOR, "review", score=99)).body["transitions"] == [
        {
            "toStateId": "state-published",
            "allowed": False,
            "reasons": [
                {
                    "code": "COMPLETENESS",
                    "message": "Completeness score 99% does not meet minimum 100%"
                    " for transition to 'published'",
                    "score": 99,
                    "minimum": 100,
                }
            ],
        },
        {"toStateId": "state-draft", "allowed": True, "reasons": []},
    ]
    assert (await ask(service, EDITOR, "published")).outcome == (200, {"transitions": []})


async def test_a_score_for_another_version_gets_the_definition_instead(service: RunningService):
    workflow = (await service.as_(ADMIN).get("/workflows/wf-lifecycle")).body
    answer = await ask(service, EDITOR, "draft", "state-review", definitionVersion=2)
    assert answer.outcome == (200, {"stale": True, "definition": {**workflow, "version": 1}})


async def test_there_is_no_decision_about_another_workspace(service: RunningService):
    stranger = identities.admin(workspace="ws-other")
    assert (await ask(service, stranger, "draft", "state-review")).outcome == error(
        404, "NOT_FOUND", "Workflow 'wf-lifecycle' not found"
    )


async def test_a_service_takes_no_steps(service: RunningService):
    answer = await service.as_service("workflow_service").post(
        "/internal/workflows/wf-lifecycle/evaluate",
        {"definitionVersion": 1, "fromStateId": "state-draft"},
    )
    assert answer.outcome == error(403, "PERMISSION_DENIED", "Permission denied")
