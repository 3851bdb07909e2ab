"""The description of the API (`gateway/openapi.json`), from all services.

This module stands here because only deploy may know every service. The file is part of the
repository, so that the gateway needs none of them to describe them; a contract test makes it anew
and compares.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

import auth_service.app
import records_service.app
import workflow_service.app
from deploy.openapi.channel_examples import CHANNELS
from deploy.openapi.description import describe
from deploy.openapi.examples import EXAMPLES
from deploy.openapi.export_job_examples import EXPORT_JOBS
from deploy.openapi.webhook_examples import WEBHOOKS
from gateway.app import health
from shared.http import Routes

TITLE: Final = "Sigma PIM"
INTRODUCTION: Final = (Path(__file__).parent / "introduction.md").read_text()
"""Which opens the page: how to begin, and what one has to know."""
_PROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"

TABLES: Final[Mapping[str, tuple[Routes, ...]]] = {
    "gateway": (health,),
    "auth_service": tuple(auth_service.app.ROUTES),
    "records_service": tuple(records_service.app.ROUTES),
    "workflow_service": tuple(workflow_service.app.ROUTES),
}

TAGS: Final = (
    *(
        "Authentication",
        "Records",
        "Variants",
        "Import and export",
        "Search",
        "Audit",
        "Change feed",
        "Schemas",
        "Attributes",
        "Dimensions",
        "Option lists",
        "Jobs",
    ),
    *("Catalogs", "Categories", "Workflows", "Change sets", "Webhooks", "Channels", "Sync"),
    *("Export jobs", "Roles", "Permissions", "API keys"),
    "Health",
)
"""In the order in which a newcomer needs them."""


def document() -> dict[str, Any]:
    """The description as the code has it now."""
    version = tomllib.loads(_PROJECT.read_text())["project"]["version"]
    tables = [table for tables in TABLES.values() for table in tables]
    described = describe(
        TITLE, version, tables, {**EXAMPLES, **CHANNELS, **EXPORT_JOBS, **WEBHOOKS}
    )
    described["info"]["description"] = INTRODUCTION
    described["tags"].sort(key=lambda tag: TAGS.index(tag["name"]))
    return described


def written(description: Mapping[str, Any]) -> bytes:
    """The bytes of the file: keys in the order of the code, so that a change reads as one."""
    return orjson.dumps(description, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
