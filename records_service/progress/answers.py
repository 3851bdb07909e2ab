"""Jobs as they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import hdrs

from records_service.progress.model import SAMPLES_MAX, Job
from shared.identity import Identity

PATH: Final = "/api/v1/jobs"


def shown(job: Job, identity: Identity) -> dict[str, Any]:
    """A job; which records stand against it is said only to those who may read all of them."""
    return {
        "id": job.id,
        "kind": job.kind,
        "status": job.status,
        "attributeId": job.subject_id if job.kind.is_about_an_attribute else None,
        "schemaId": job.subject_id if job.kind.is_about_a_schema else None,
        "total": job.total,
        "processed": job.created + job.updated + job.unchanged + job.skipped + job.failed,
        "created": job.created,
        "updated": job.updated,
        "unchanged": job.unchanged,
        "skipped": job.skipped,
        "failed": job.failed,
        "samples": job.samples[:SAMPLES_MAX] if identity.unrestricted and identity.may_read else [],
        "error": job.error,
        "createdAt": job.created_at,
        "startedAt": job.started_at,
        "completedAt": job.completed_at,
        "createdBy": job.created_by or None,
    }


def link_to(job_id: str | None) -> Mapping[str, str]:
    """The header that leads from the answer to a change to the job that finishes it."""
    return {} if job_id is None else {hdrs.LINK: f'<{PATH}/{job_id}>; rel="status"'}
