"""Assembles the application of records_service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from records_service.attributes.handlers import routes as attribute_routes
from records_service.blueprint.blueprint import BLUEPRINTS, Blueprints
from records_service.bulk.calls import (
    CALLS,
    CALLS_MAX,
    CALLS_OF_WORKSPACE,
    CALLS_OF_WORKSPACE_MAX,
)
from records_service.bulk.handlers import routes as bulk_routes
from records_service.catalogs.assignments.handlers import routes as assignment_routes
from records_service.catalogs.categories import removal as category_removal
from records_service.catalogs.categories.commands import TREE_CHANGE_SLOTS
from records_service.catalogs.categories.handlers import catalog_routes as tree_routes
from records_service.catalogs.categories.handlers import routes as category_routes
from records_service.catalogs.handlers import routes as catalog_routes
from records_service.channel_records.handlers import routes as channel_record_routes
from records_service.clients import AUTH_SERVICE, WORKFLOW_SERVICE
from records_service.completeness.handlers import routes as completeness_routes
from records_service.config import Config
from records_service.conversions import commands as conversions
from records_service.conversions.handlers import routes as conversion_routes
from records_service.dimensions.handlers import routes as dimension_routes
from records_service.explanations.handlers import routes as explanation_routes
from records_service.exports.handlers import routes as export_routes
from records_service.exports.walk import EXPORTS, Exports
from records_service.feed import store as feed
from records_service.feed.delivering import routes as delivering_routes
from records_service.feed.following import FOLLOWERS, READS, Followers, Reads
from records_service.feed.handlers import routes as feed_routes
from records_service.feed.news import hearing, waking_relay
from records_service.feed.removing import removing
from records_service.feed.sequencing import sequencing
from records_service.history.handlers import routes as audit_routes
from records_service.history.retention import commands as retention
from records_service.history.retention.handlers import routes as retention_routes
from records_service.history.retention.sweeping import sweeping_history
from records_service.history.versions.handlers import routes as version_routes
from records_service.imports.handlers import routes as import_routes
from records_service.imports.job_handlers import IMPORT_BYTES_MAX
from records_service.imports.job_handlers import routes as import_job_routes
from records_service.imports.jobs import Imports
from records_service.imports.lanes import JOB as IMPORT_JOB
from records_service.imports.sweeping import sweeping
from records_service.lists import LISTS, Lists
from records_service.model_changes import state_moving
from records_service.model_changes.handlers import attribute_routes as attribute_change_routes
from records_service.model_changes.handlers import job_routes as job_change_routes
from records_service.model_changes.handlers import schema_routes as schema_change_routes
from records_service.model_objects.commands import (
    MODEL_CHANGE_SLOTS,
    MODEL_SIZE_MAX,
    SOURCE,
    ModelSize,
)
from records_service.model_objects.value_index import VALUE_INDEX
from records_service.option_bulk.handlers import routes as option_bulk_routes
from records_service.option_lists import removal as option_removal
from records_service.option_lists.handlers import routes as option_list_routes
from records_service.permissions.roles import ROLE_LOOKUPS, ROLES, Roles
from records_service.previews.handlers import attribute_routes as attribute_preview_routes
from records_service.previews.handlers import option_list_routes as option_list_preview_routes
from records_service.previews.handlers import schema_routes as schema_preview_routes
from records_service.previews.handlers import workflow_routes as workflow_preview_routes
from records_service.previews.walk import PREVIEW_SLICES, PREVIEWS, slots
from records_service.progress.handlers import routes as job_routes
from records_service.proposals.handlers import routes as proposal_routes
from records_service.reactions import REACTIONS
from records_service.records.counts import COUNTS, Counts
from records_service.records.handlers import routes as record_routes
from records_service.records.listing import PAGE_CACHE, PageCache
from records_service.records.loading import record_loader
from records_service.records.render_cache import RENDER_CACHE, RenderCache
from records_service.saved_queries.handlers import routes as saved_query_routes
from records_service.schemas.binding import REMOTE_CALL_SLOTS
from records_service.schemas.handlers import routes as schema_routes
from records_service.search.handlers import routes as search_routes
from records_service.search_index import building
from records_service.search_index.enrolling import enrolling
from records_service.search_index.in_use import InUse
from records_service.search_texts import indexing
from records_service.search_texts.indexing import TextIndexing
from records_service.search_texts.waking import waking
from records_service.transitions.handlers import routes as transition_routes
from records_service.uniqueness import commands as uniqueness
from records_service.value_removal import commands as value_removal
from records_service.value_uses import filling
from records_service.variants.handlers import routes as variant_routes
from records_service.workflow_copies.handlers import routes as workflow_copy_routes
from records_service.writes.attempts import CHANGE_SLOTS, RECORD_SLOTS
from records_service.writes.create_batching import WRITE_SLOTS, create_batcher
from shared.database import ConnectionSlots, postgres
from shared.database.listing import PIECES, pieces
from shared.database.retries import retry_safe
from shared.database.schema_version import schema_version
from shared.database.server_metrics import measuring
from shared.events import EventType
from shared.http import new_service
from shared.http.address_check import ServiceAddress, check_addresses
from shared.http.client import upstream
from shared.launch import Role
from shared.messaging import topology
from shared.messaging.connection import rabbitmq
from shared.messaging.consuming import by_type, consume
from shared.messaging.job_turns import job_turns
from shared.messaging.jobs import Slice
from shared.messaging.relay import relay

NAME = "records_service"
QUEUE = next(queue for queue in topology.QUEUES if queue.name == topology.RECORDS_QUEUE)
JOBS_QUEUE = next(queue for queue in topology.QUEUES if queue.name == topology.RECORDS_JOBS_QUEUE)
JOBS: Final[Mapping[str, Slice]] = {
    value_removal.JOB: value_removal.remove_some,
    state_moving.JOB: state_moving.move_some,
    uniqueness.JOB: uniqueness.check_some,
    building.JOB: building.build_some,
    conversions.JOB: conversions.convert_some,
    retention.JOB: retention.remove_some,
    filling.JOB: filling.mark_some,
    option_removal.JOB: option_removal.remove_some,
    category_removal.JOB: category_removal.remove_some,
}
ROUTES = (
    bulk_routes,
    option_bulk_routes,
    proposal_routes,
    schema_routes,
    schema_change_routes,
    schema_preview_routes,
    attribute_routes,
    attribute_change_routes,
    attribute_preview_routes,
    conversion_routes,
    job_routes,
    job_change_routes,
    record_routes,
    version_routes,
    transition_routes,
    completeness_routes,
    variant_routes,
    audit_routes,
    retention_routes,
    search_routes,
    saved_query_routes,
    dimension_routes,
    option_list_routes,
    option_list_preview_routes,
    catalog_routes,
    tree_routes,
    category_routes,
    assignment_routes,
    workflow_copy_routes,
    workflow_preview_routes,
    export_routes,
    channel_record_routes,
    import_routes,
    import_job_routes,
    explanation_routes,
    feed_routes,
    delivering_routes,
)


def create_app(config: Config, role: Role = "all") -> web.Application:
    """Opened top to bottom, closed bottom to top: the relay stops before what it uses."""
    imports = Imports()
    texts = TextIndexing()
    kinds = {**JOBS, IMPORT_JOB: imports.run_some, indexing.JOB: texts.run_some}
    working = [
        measuring,
        imports.opened,
        sequencing(lease_s=config.relay_lease_seconds),
        relay(SOURCE, lease_s=config.relay_lease_seconds, publishable=feed.PUBLISHABLE),
        waking_relay,
        removing(config.feed_days_kept),
        consume(QUEUE, by_type(REACTIONS)),
        job_turns(JOBS_QUEUE, EventType.RECORDS_JOB, SOURCE, kinds),
        sweeping(config.import_days_kept, imports.spreadsheets),
        sweeping_history,
        enrolling,
        filling.filling,
        waking,
    ]
    app = new_service(
        config,
        ROUTES,
        [
            postgres(config, application_name=NAME),
            schema_version(NAME),
            retry_safe(config, removes=role != "api"),
            record_loader,
            create_batcher(config.wait_seconds),
            hearing,
            rabbitmq(config, NAME),
            upstream(AUTH_SERVICE, str(config.auth_url), "auth_service"),
            upstream(WORKFLOW_SERVICE, str(config.workflow_url), "workflow_service"),
            check_addresses(
                ServiceAddress("SIGMA_AUTH_URL", str(config.auth_url), "auth_service"),
                ServiceAddress("SIGMA_WORKFLOW_URL", str(config.workflow_url), "workflow_service"),
            ),
            *([] if role == "api" else working),
        ],
        name=NAME,
    )
    app[MODEL_SIZE_MAX] = ModelSize(config.model_objects_max, config.model_bytes_max)
    connections = config.database_connections_max
    app[LISTS] = Lists(connections, config.wait_seconds)
    app[PIECES] = pieces()
    imports.app = texts.app = app
    app[IMPORT_BYTES_MAX] = config.import_bytes_max
    app[EXPORTS] = Exports(connections)
    app[READS] = Reads()
    app[FOLLOWERS] = Followers(config.followers_max)
    app[PREVIEWS], app[PREVIEW_SLICES] = slots(connections, config.wait_seconds)
    writers = max(1, connections // 2)
    app[MODEL_CHANGE_SLOTS] = ConnectionSlots(wait_s=config.wait_seconds)
    app[TREE_CHANGE_SLOTS] = ConnectionSlots(wait_s=config.wait_seconds)
    app[REMOTE_CALL_SLOTS] = ConnectionSlots(max(1, connections // 4), wait_s=config.wait_seconds)
    app[WRITE_SLOTS] = ConnectionSlots(writers, wait_s=config.wait_seconds)
    app[CHANGE_SLOTS] = ConnectionSlots(2 * writers, wait_s=config.wait_seconds)
    app[RECORD_SLOTS] = ConnectionSlots(wait_s=config.wait_seconds)
    app[CALLS_OF_WORKSPACE] = ConnectionSlots(
        CALLS_OF_WORKSPACE_MAX,
        wait_s=config.wait_seconds,
        message="Too many bulk calls of this workspace are running at once",
    )
    app[CALLS] = ConnectionSlots(
        CALLS_MAX,
        wait_s=config.wait_seconds,
        message="Too many bulk calls are running at once",
    )
    app[VALUE_INDEX] = InUse()
    app[BLUEPRINTS] = Blueprints()
    app[ROLES] = Roles()
    app[ROLE_LOOKUPS] = ConnectionSlots(wait_s=config.wait_seconds)
    app[RENDER_CACHE] = RenderCache()
    app[PAGE_CACHE] = PageCache()
    app[COUNTS] = Counts()
    return app
