"""What a search asks for, and what it answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AliasChoices, ConfigDict, Field
from typing_extensions import TypeAliasType

from records_service.dimensions.model import Scope
from records_service.records.model import RecordPage
from records_service.records.projection import NAMES_MAX, ProjectionQuery
from records_service.search_texts.words import QUERY_MAX
from shared.database.paging import PageQuery
from shared.http.bounds import AtMost
from shared.http.shapes import Closed, DescribedAs, Shape

CRITERIA_MAX: Final = 100
"""Of one list; also of a whole search, those in groups included."""
DEPTH_MAX: Final = 5
FACETS_MAX: Final = 20
SORTS_MAX: Final = 3
OPERANDS_MAX: Final = 1_000
"""Of `in` and `notIn`."""


class CriteriaOperator(StrEnum):
    """Whether all criteria must be met, or one."""

    AND = "and"
    OR = "or"


class SearchOperator(StrEnum):
    """How a value is compared."""

    EQUALS = "equals"
    NOT_EQUALS = "notEquals"
    CONTAINS = "contains"
    STARTS_WITH = "startsWith"
    ENDS_WITH = "endsWith"
    IS_EMPTY = "isEmpty"
    IS_NOT_EMPTY = "isNotEmpty"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    NOT_IN = "notIn"


class SortField(StrEnum):
    """What every record has and can be sorted by."""

    ID = "id"
    SCHEMA_ID = "schemaId"
    LIFECYCLE_STATE_ID = "lifecycleStateId"
    CREATED_AT = "createdAt"
    UPDATED_AT = "updatedAt"
    CREATED_BY = "createdBy"
    UPDATED_BY = "updatedBy"
    COMPLETENESS = "completeness"


class SearchField(StrEnum):
    """What every record has and can be searched by."""

    ID = "id"
    SCHEMA_ID = "schemaId"
    LIFECYCLE_STATE_ID = "lifecycleStateId"
    CREATED_AT = "createdAt"
    UPDATED_AT = "updatedAt"
    CREATED_BY = "createdBy"
    UPDATED_BY = "updatedBy"
    CATEGORY_ID = "categoryId"
    COMPLETENESS = "completeness"


class SortOrder(StrEnum):
    """Ascending or descending."""

    ASC = "asc"
    DESC = "desc"


OPERATORS: Final = tuple(SearchOperator)

InnerCriterion = TypeAliasType(
    "InnerCriterion",
    Annotated[
        dict[str, Any],
        Field(description="A criterion of a group: a comparison, or another group."),
    ],
)


class Criterion(Shape):
    """A comparison of an attribute or a field, or a group of criteria."""

    attribute: str | None = Field(default=None, examples=["price"])
    """Alias or id of the attribute, or of a field of a complex one, such as `dimensions.width`."""
    field: SearchField | None = Field(default=None, examples=[None])
    """Instead of an attribute, something that every record has."""
    operator: SearchOperator | None = Field(default=None, examples=["gt"])
    """How the value is compared."""
    value: Any = Field(default=None, examples=[100])
    """What to compare with: a list for `in` and `notIn`, nothing for `isEmpty` and `isNotEmpty`.
    Options are named by id, alias or label."""
    scope: Scope | None = None
    """Compare the value that holds in this scope; `{}` stands for the default segments. Without a
    scope a record matches if a value in any scope does; completeness is that of the default
    segments."""
    state_id: str | None = Field(default=None, alias="stateId", examples=[None])
    """For `completeness`: the lifecycle state (id or alias) that records are scored for. Default:
    that of each record. Records whose workflow does not have it are not found."""
    include_subcategories: bool | None = Field(default=None, alias="includeSubcategories")
    """For `categoryId`: whether records in the categories below it match too."""
    criteria_operator: CriteriaOperator | None = Field(
        default=None, alias="criteriaOperator", examples=[None]
    )
    """Of a group: `and` or `or`. Default: `and`."""
    criteria: list[InnerCriterion] | None = Field(default=None, examples=[None])
    """Of a group: criteria like this one, up to five levels deep."""


class Sort(Shape):
    """By what to sort. Records without the value come last in both orders."""

    attribute: str | None = Field(default=None, examples=["price"])
    """Alias or id of the attribute, or of a field of a complex one."""
    field: SortField | None = Field(default=None, examples=[None])
    """Instead of an attribute, something that every record has."""
    scope: Scope | None = None
    """Sort by the value that holds in this scope. Default: in the default segments."""
    state_id: str | None = Field(default=None, alias="stateId", examples=[None])
    """For `completeness`: the lifecycle state (id or alias) that records are scored for. Default:
    that of each record."""
    order: SortOrder = SortOrder.ASC
    """Ascending or descending."""


class Filter(Shape):
    """Which records are looked for."""

    model_config = ConfigDict(populate_by_name=True)

    criteria_operator: Annotated[str, DescribedAs(CriteriaOperator)] = Field(
        default="and", alias="criteriaOperator"
    )
    """Whether all criteria must be met (`and`) or one (`or`)."""
    criteria: Annotated[
        list[Any],
        AtMost(CRITERIA_MAX),
        DescribedAs(list[Criterion]),
        Field(examples=[[{"attribute": "price", "operator": "gt", "value": 100}]]),
    ] = Field(default_factory=list)
    """The criteria, 100 at most, those in groups included. None: all records."""
    schema_id: str | None = Field(default=None, alias="schemaId")
    """Only records of this schema (id or alias)."""


class Shown(PageQuery):
    """Which part of what was found is shown."""

    attributes: Annotated[list[str], AtMost(NAMES_MAX)] | None = Field(
        default=None, examples=[None]
    )
    """Only these attributes (ids or aliases). Default: all."""
    facets: Annotated[list[str], AtMost(FACETS_MAX)] = Field(default_factory=list)
    """Of what to count the values among all that is found: aliases or ids of attributes of type
    `option` or `boolean`, `schemaId`, `lifecycleStateId` or `categoryId`."""
    scope: Scope | None = Field(default=None, examples=[None])
    """Each record then has `resolved`: the value of each attribute that applies in this scope."""


Query = Annotated[str, Field(max_length=QUERY_MAX, examples=["coastal windbreaker"])]


class FullTextBody(Shown, Closed):
    """A search in texts."""

    query: Query = Field(validation_alias=AliasChoices("query", "q"), examples=["coastal wind"])
    """What to look for: words, `"phrases"`, `-excluded` words; the last word may be unfinished."""
    schema_id: str | None = Field(default=None, alias="schemaId")
    """Only records of this schema (id or alias)."""


class TextQuery(PageQuery, ProjectionQuery):
    """A search in texts, in a query string."""

    query: Query | None = Field(default=None, examples=["coastal wind"])
    """What to look for: words, `"phrases"`, `-excluded` words; the last word may be unfinished."""
    q: Query | None = Field(default=None, examples=[None])
    """The same as `query`."""
    schema_id: str | None = Field(default=None, alias="schemaId")
    """Only records of this schema (id or alias)."""
    facets: Annotated[str, Field(max_length=1_000)] = ""
    """Of what to count the values among all that is found, separated by commas."""


class FacetValue(Shape):
    """A value, and how many of the records that were found have it."""

    value: Any
    """The id of an option, a schema, a state or a category, or true or false."""
    label: str | None
    """Its name."""
    count: int
    """How many records have it."""


FacetValues = TypeAliasType(
    "FacetValues",
    Annotated[list[FacetValue], Field(description="The 100 most frequent, most frequent first.")],
)


Facets = TypeAliasType(
    "Facets",
    Annotated[dict[str, FacetValues], Field(description="What was counted -> its values.")],
)


class SearchPage(RecordPage):
    """One page of the records that were found."""

    facets: Facets = Field(default_factory=dict)
    """The values of what was asked for, over all records that were found. Left out if nothing was
    asked for."""


class SearchBody(Shown, Filter, Closed):
    """A search by criteria."""

    sort: Annotated[
        list[Any],
        AtMost(SORTS_MAX),
        DescribedAs(list[Sort]),
        Field(examples=[[{"attribute": "price", "order": "desc"}]]),
    ] = Field(default_factory=list)
    """By what to sort, most important first. Default: oldest first."""
