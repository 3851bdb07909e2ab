"""What somebody needs for a collection of the API: what its routes declare, in any service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from records_service.clients import AUTH_SERVICE, WORKFLOW_SERVICE
from records_service.explanations.model import PermissionAction, PermissionResource, Reason
from records_service.explanations.subjects import Subject
from shared.errors import NotFound, ServiceUnavailable
from shared.http import ROUTES
from shared.http.access import (
    ACCESS_PATH,
    AccessAnswer,
    AccessQuestion,
    declared,
    explained,
)
from shared.http.client import Upstream
from shared.http.routes import Requirement
from shared.identity import Flag, Permission

BASE: Final = "/api/v1"


@dataclass(frozen=True, slots=True)
class At:
    """A route: method, path below `BASE`, and the service that has it, if it is another one."""

    method: str
    path: str
    service: web.AppKey[Upstream] | None = None


def _collection(
    path: str, service: web.AppKey[Upstream] | None = None
) -> dict[PermissionAction, At | Requirement]:
    return {
        PermissionAction.READ: At("GET", path, service),
        PermissionAction.WRITE: At("POST", path, service),
        PermissionAction.DELETE: At("DELETE", f"{path}/{{id}}", service),
    }


def _without_routes(
    read: Requirement, *, flag: Flag | None = None, administrators: bool = False
) -> dict[PermissionAction, At | Requirement]:
    """A collection that this version has no routes for: what the API says of it."""
    return {
        PermissionAction.READ: read,
        PermissionAction.WRITE: Requirement(Permission.UPDATE_MODEL, flag, administrators),
        PermissionAction.DELETE: Requirement(Permission.DELETE_MODEL, flag, administrators),
    }


_BY_RESOURCE: Final[Mapping[PermissionResource, Mapping[PermissionAction, At | Requirement]]] = {
    PermissionResource.SCHEMAS: _collection("/schemas"),
    PermissionResource.ATTRIBUTES: _collection("/attributes"),
    PermissionResource.DIMENSIONS: _collection("/dimensions"),
    PermissionResource.OPTION_LISTS: _collection("/option-lists"),
    PermissionResource.ROLES: _collection("/roles", AUTH_SERVICE),
    PermissionResource.API_KEYS: _collection("/api-keys", AUTH_SERVICE),
    PermissionResource.WORKFLOWS: _collection("/workflows", WORKFLOW_SERVICE),
    PermissionResource.CATALOGS: _collection("/catalogs"),
    PermissionResource.CATEGORIES: {
        PermissionAction.READ: At("GET", "/categories/{id}"),
        PermissionAction.WRITE: At("PUT", "/categories/{id}"),
        PermissionAction.DELETE: At("DELETE", "/categories/{id}"),
    },
    PermissionResource.SAVED_QUERIES: _collection("/saved-queries"),
    PermissionResource.HISTORY: {
        PermissionAction.READ: At("GET", "/audit"),
        PermissionAction.DELETE: At("PUT", "/audit/retention"),
    },
    PermissionResource.IMPORTS: {
        PermissionAction.READ: At("GET", "/imports"),
        PermissionAction.WRITE: At("POST", "/imports"),
    },
    PermissionResource.EXPORTS: {PermissionAction.READ: At("GET", "/export")},
    PermissionResource.CHANGE_SETS: {
        **_collection("/change-sets", WORKFLOW_SERVICE),
        PermissionAction.MANAGE: At("POST", "/change-sets/{id}/approve", WORKFLOW_SERVICE),
    },
    PermissionResource.CHANGES: {PermissionAction.READ: At("GET", "/changes")},
    PermissionResource.JOBS: {
        PermissionAction.READ: At("GET", "/jobs"),
        PermissionAction.WRITE: At("POST", "/jobs/{id}/cancel"),
    },
    PermissionResource.CHANNELS: _collection("/channels", WORKFLOW_SERVICE),
    PermissionResource.WEBHOOKS: _collection("/webhooks", WORKFLOW_SERVICE),
    PermissionResource.EXPORT_JOBS: _collection("/export-jobs", WORKFLOW_SERVICE),
}


def actions_on(resource: PermissionResource) -> tuple[PermissionAction, ...]:
    """What can be done with a collection."""
    known = _BY_RESOURCE[resource]
    managed = [PermissionAction.MANAGE] if PermissionAction.WRITE in known else []
    return tuple(dict.fromkeys([*known, *managed]))


async def resource_reason(
    subject: Subject, resource: PermissionResource, action: PermissionAction
) -> Reason:
    """Whether somebody may do this with a collection."""
    known = _BY_RESOURCE[resource]
    if action is PermissionAction.MANAGE and action not in known:
        action = PermissionAction.WRITE
    place = known[action]
    if isinstance(place, Requirement):
        return _reason(subject, explained(subject.context.identity, place))
    return await route_reason(subject, place)


async def route_reason(subject: Subject, place: At) -> Reason:
    """Whether somebody may use a route at all, as the edge of its service decides."""
    app, identity = subject.context.app, subject.context.identity
    if place.service is None:
        routes = app[ROUTES]
        route = declared(routes, place.method, BASE + place.path)
        return _reason(subject, explained(identity, route))
    question = AccessQuestion.of(identity, place.method, BASE + place.path)
    try:
        answer = await app[place.service].request(
            "POST",
            ACCESS_PATH,
            json=question.model_dump(mode="json"),
            call=subject.context.call,
            reads=True,
        )
    except NotFound:
        # A service of an older version does not answer this.
        raise ServiceUnavailable("Cannot ask the service of this resource at the moment") from None
    return _reason(subject, AccessAnswer(**answer))


def _reason(subject: Subject, answer: AccessAnswer) -> Reason:
    return Reason(subject.source, answer.rule, answer.allowed)
