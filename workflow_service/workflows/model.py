"""A workflow as it is asked for (`WorkflowDraft`) and as it is (`Workflow`).

The public object is `Workflow` in JSON; other services get it with its `version`, which clients see
as the `ETag`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    field_serializer,
)
from pydantic.alias_generators import to_camel

from shared.ids import ID_PATTERN

STATES_MAX = 200
TRANSITIONS_MAX = 2_000
ROLES_MAX = 200
ATTRIBUTES_MAX = 2_000
_STATE_PREFIX = "state-"


def whole(number: float) -> int | float:
    """80 for 80.0; 99.5 stays what it is."""
    return int(number) if number.is_integer() else number


Id = Annotated[str, Field(pattern=ID_PATTERN)]
StateName = Annotated[str, Field(min_length=1, max_length=128)]
Text = Annotated[str, Field(min_length=1, max_length=255)]
Description = Annotated[str, Field(max_length=10_000)]
Color = Annotated[str, Field(pattern=r"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")]
Percentage = Annotated[float, Field(ge=0, le=100), PlainSerializer(whole)]
AttributeNames = Annotated[list[Text], Field(max_length=ATTRIBUTES_MAX)]
RoleIds = Annotated[list[Id], Field(max_length=ROLES_MAX)]


class _Shape(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, strict=True, extra="ignore"
    )


class State(_Shape):
    """A step of the lifecycle. The three lists name attributes by id; an alias becomes the id.

    A name that no attribute has yet is kept, and means the attribute that will have it.
    What they do is decided where the record is: `required` counts for completeness, `readOnly` and
    `hidden` hold while a record is in the state.
    """

    id: Id
    name: Text | None = Field(default=None, description="Shown to people")
    alias: Text | None = Field(default=None, description="What messages call the state")
    color: Color | None = Field(default=None, description="For display, such as `#22c55e`")
    hidden: AttributeNames = Field(default=[], description="Attributes left out of reads")
    required: AttributeNames = Field(default=[], description="Attributes that completeness counts")
    read_only: AttributeNames = Field(default=[], description="Attributes that refuse writes")

    @property
    def label(self) -> str:
        """How messages print the state: the alias, or the id without `state-` (C13)."""
        return self.alias or label_of_id(self.id)


class TransitionDraft(_Shape):
    """A step as asked for: both ends may be named by id or alias, and be called `from` and `to`."""

    id: Id | None = None
    name: Text | None = None
    from_state_id: StateName = Field(validation_alias=AliasChoices("fromStateId", "from"))
    to_state_id: StateName = Field(validation_alias=AliasChoices("toStateId", "to"))
    allowed_role_ids: RoleIds = Field(
        default=[], description="Roles that may take this step; empty: everyone"
    )
    requires_completeness: Percentage | None = Field(
        default=None, description="The score that the record needs for the target state, 0 to 100"
    )


class WorkflowDraft(_Shape):
    """A whole workflow as a client asks for it, for POST and PUT alike."""

    id: Id | None = Field(default=None, description="Made by the server when it is left out")
    alias: Text
    name: Text
    description: Description | None = None
    default_state_id: StateName = Field(description="The state of new records")
    states: Annotated[list[State], Field(min_length=1, max_length=STATES_MAX)]
    transitions: Annotated[list[TransitionDraft], Field(max_length=TRANSITIONS_MAX)] = []


class Transition(_Shape):
    """A step from one state to another, and its two gates."""

    id: Id
    name: Text | None = None
    from_state_id: Id
    to_state_id: Id
    allowed_role_ids: list[Id] = Field(description="Roles that may take this step; empty: everyone")
    requires_completeness: Percentage | None = Field(
        default=None, description="The score that the record needs for the target state, 0 to 100"
    )


class Workflow(_Shape):
    """A lifecycle: its states, its transitions, and where new records start."""

    id: Id
    alias: Text
    name: Text
    description: Description | None = None
    default_state_id: Id = Field(description="The state of new records")
    states: list[State]
    transitions: list[Transition]
    created_at: datetime
    updated_at: datetime
    version: int = Field(exclude=True)

    @field_serializer("created_at", "updated_at")
    def _as_text(self, moment: datetime) -> str:
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def public(self) -> dict[str, Any]:
        """What a client is answered."""
        return self.model_dump(mode="json", by_alias=True)

    def definition(self) -> dict[str, Any]:
        """What other services are told: the public object and its version."""
        return {**self.public(), "version": self.version}

    def body(self) -> dict[str, Any]:
        """What is stored as one document, beside the columns."""
        return self.model_dump(
            mode="json", by_alias=True, exclude={"id", "alias", "created_at", "updated_at"}
        )

    def state_named(self, name: str) -> State | None:
        """The state with this id, or else with this alias, or None."""
        by_id = next((state for state in self.states if state.id == name), None)
        return by_id or next((state for state in self.states if state.label == name), None)


def label_of_id(state_id: str) -> str:
    """How messages print a state that has no alias, or that nobody knows."""
    return state_id.removeprefix(_STATE_PREFIX)


class ReferenceDraft(_Shape):
    """What records_service registers before it saves a schema."""

    workflow_id: str


class StepQuestion(_Shape):
    """What records_service asks about a record: may it go there? Where may it go at all."""

    definition_version: int
    from_state_id: str
    to_state_id: str | None = None
    scores: dict[str, int] = {}
    missing: dict[str, list[str]] = {}
