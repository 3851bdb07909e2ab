"""A synchronisation as it is returned."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from shared.database.listing import ListQuery
from shared.database.paging import Paged, PageQuery
from shared.http.shapes import Shape

SyncDirection = TypeAliasType(
    "SyncDirection",
    Annotated[
        Literal["bidirectional", "push", "pull"],
        Field(description="Which way records go."),
    ],
)
SyncStatus = TypeAliasType(
    "SyncStatus",
    Annotated[
        Literal["running", "success", "partial", "failed"],
        Field(
            description="`partial`: some records failed, or the synchronisation ended before all"
            " were looked at; what is counted was confirmed. `failed`: nothing was confirmed."
        ),
    ],
)
SyncAction = TypeAliasType(
    "SyncAction",
    Annotated[Literal["create", "update"], Field(description="What would be done.")],
)
SyncTarget = TypeAliasType(
    "SyncTarget",
    Annotated[
        Literal["channel", "record"],
        Field(description="Where something would be written: at the target, or here."),
    ],
)
Fields = TypeAliasType(
    "Fields",
    Annotated[
        dict[str, Any],
        Field(
            description="Target field, or alias of an attribute -> new value.",
            examples=[{"variants[0].price": 849}],
        ),
    ],
)


class SyncError(Shape):
    """A record or an object of the target that failed."""

    entity_id: str | None = Field(alias="entityId", examples=["ent-coastal-wb"])
    """Id of the record, where there is one."""
    external_id: str | None = Field(alias="externalId", examples=["4711"])
    """Id at the target, where there is one."""
    message: str = Field(examples=["The target refused the object: PUT answered 422"])
    """Why. What the target or the data model says besides is for administrators and for who
    started the synchronisation."""


class SyncChange(Shape):
    """What would be written."""

    action: SyncAction
    """What would be done with it."""
    target: SyncTarget
    """Which side would be written."""
    entity_id: str | None = Field(alias="entityId")
    """Id of the record, where there is one."""
    external_id: str | None = Field(alias="externalId")
    """Id at the target, where there is one."""
    fields: Fields
    """What differs, with its new value."""


class SyncLog(Shape):
    """What a synchronisation did, or has done so far."""

    id: str = Field(examples=["synclog-7k2m0c2h3v4x5y6z7a8b"])
    """The id of the log."""
    channel_id: str = Field(alias="channelId", examples=["ch-webshop"])
    """The channel."""
    direction: SyncDirection
    """Which way records went."""
    status: SyncStatus
    """How it ended, or that it is running."""
    started_at: datetime = Field(alias="startedAt")
    """When it was started."""
    completed_at: datetime | None = Field(alias="completedAt")
    """When it ended."""
    started_by: str = Field(alias="startedBy", examples=["user-admin"])
    """Id of the user or API key that started it, whose rights it has."""
    created: int = Field(examples=[12])
    """How many were created."""
    updated: int = Field(examples=[3])
    """How many were updated."""
    skipped: int = Field(examples=[485])
    """How many have not changed since the last time."""
    failed: int = Field(examples=[0])
    """How many failed."""
    error: str | None = Field(examples=[None])
    """Why it ended before all were looked at."""
    errors: list[SyncError]
    """The first 20 that failed; `/errors` below the log has all, by page."""
    changes: list[SyncChange] | None = Field(default=None, examples=[None])
    """Of a dry run: the first 100 changes."""
    complete: bool | None = Field(default=None, examples=[None])
    """Of a dry run: whether there was time to look at everything."""


class SyncErrorPage(Paged):
    """One page of what failed."""

    items: list[SyncError]
    """What failed, in the order in which it was tried."""


class SyncErrorQuery(PageQuery):
    """Which errors a page shows."""


class SyncLogQuery(ListQuery):
    """Which logs a list shows."""


class SyncMappingQuery(ListQuery):
    """Which mappings a list shows."""

    entity_id: str | None = Field(default=None, alias="entityId")
    """Only those of this record."""


class SyncMapping(Shape):
    """Which object of the target a record is."""

    id: str = Field(examples=["map-7k2m0c2h3v4x5y6z7a8b"])
    """The id of the mapping."""
    channel_id: str = Field(alias="channelId", examples=["ch-webshop"])
    """The channel."""
    entity_id: str = Field(alias="entityId", examples=["ent-coastal-wb"])
    """Id of the record."""
    variant_id: str | None = Field(alias="variantId", examples=[None])
    """Id of the variant, if it is about one."""
    external_id: str = Field(alias="externalId", examples=["4711"])
    """Its id at the target."""
    checksum: str
    """Of what the target has of it, keyed: it tells whether that has changed, and nothing else."""
    last_synced_at: datetime | None = Field(alias="lastSyncedAt")
    """When the target and the record were last known to agree."""


class ConnectionTest(Shape):
    """Whether the target can be reached."""

    ok: bool = Field(examples=[True])
    """Whether it can."""
    error: str | None = Field(examples=[None])
    """Why it cannot."""
    shop_name: str | None = Field(alias="shopName", examples=[None])
    """What the target calls itself."""
    shop_url: str | None = Field(alias="shopUrl", examples=["https://shop.example.com/products"])
    """Its address."""
    plan: str | None = Field(examples=[None])
    """Its plan."""
    product_count: int | None = Field(alias="productCount", examples=[None])
    """How many products it has."""
