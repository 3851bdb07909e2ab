"""What is asked and answered when records are assigned to a category."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from records_service.model_objects.model import Body
from records_service.records.projection import ProjectionQuery
from shared.database.paging import PageQuery
from shared.errors import ValidationError, truncated
from shared.http.bounds import AtMost
from shared.http.shapes import Shape

RECORDS_MAX: Final = 1_000
"""In one request."""


def _may_be_left_out(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class AssignmentRequest(Body):
    """One record, or up to 1,000 records."""

    entity_id: str | None = Field(default=None, alias="entityId", examples=["ent-coastal-wb"])
    """Id of the record."""
    record_id: str | None = Field(default=None, alias="recordId", examples=[None])
    """Another name of `entityId`."""
    entity_ids: Annotated[list[str], AtMost(RECORDS_MAX)] | None = Field(
        default=None, alias="entityIds", examples=[None]
    )
    """Ids of several records. Cannot be combined with `entityId`."""

    @property
    def single(self) -> str | None:
        """The one record that is named as such."""
        return self.record_id if self.entity_id is None else self.entity_id

    def named(self) -> list[str]:
        """The ids of the records, each once; `ValidationError` unless they are named in one way."""
        if None not in (self.entity_id, self.record_id) and self.entity_id != self.record_id:
            raise ValidationError.at(
                "/recordId",
                "Field 'recordId' is another name of 'entityId': expected"
                f" '{truncated(self.entity_id or '')}', got '{truncated(self.record_id or '')}'",
            )
        if self.single is None:
            if self.entity_ids is None:
                raise ValidationError.at("/entityId", "Field 'entityId' or 'entityIds' is required")
            return list(dict.fromkeys(self.entity_ids))
        if self.entity_ids is not None:
            raise ValidationError.at(
                "/entityIds",
                "Field 'entityIds' cannot be combined with 'entityId': expected one of them",
            )
        return [self.single]


class AssignmentAnswer(Shape):
    """What was asked: `entityId` for one record, `entityIds` and `changed` for several."""

    category_id: str = Field(alias="categoryId")
    """Id of the category."""
    entity_id: str = Field(default="", alias="entityId", json_schema_extra=_may_be_left_out)
    """Id of the record."""
    entity_ids: list[str] = Field(default=[], alias="entityIds", json_schema_extra=_may_be_left_out)
    """Ids of the records, each once."""
    changed: int = Field(default=0, json_schema_extra=_may_be_left_out)
    """How many of them were not as asked before."""


class CategoryRecordsQuery(PageQuery, ProjectionQuery):
    """Which records of a category a list shows, and which part of each."""

    include_subcategories: bool = Field(default=False, alias="includeSubcategories")
    """Also those in the categories below it, at any depth."""
