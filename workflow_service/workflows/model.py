"""A workflow as it is asked for (`WorkflowDraft`) and as it is (`Workflow`).

The public object is `Workflow` in JSON; other services get it with its `version`, which clients see
as the `ETag`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    ConfigDict,
    Field,
    PlainSerializer,
    field_serializer,
)
from pydantic.alias_generators import to_camel

from shared.bounds import AtMost
from shared.ids import ALIAS_PATTERN, ID_PATTERN
from shared.shapes import Shape

STATES_MAX = 200
TRANSITIONS_MAX = 2_000
ROLES_MAX = 200
ATTRIBUTES_MAX = 2_000
WORKFLOW_BYTES_MAX = 1 << 20
"""As JSON: what every process that judges records keeps, and parses at each change."""
_STATE_PREFIX = "state-"


def whole(number: float) -> int | float:
    """80 for 80.0; 99.5 stays what it is."""
    return int(number) if number.is_integer() else number


Id = Annotated[str, Field(pattern=ID_PATTERN)]
StateName = Annotated[str, Field(min_length=1, max_length=128)]
Alias = Annotated[str, Field(pattern=ALIAS_PATTERN)]
Text = Annotated[str, Field(min_length=1, max_length=255)]
Description = Annotated[str, Field(max_length=10_000)]
Color = Annotated[str, Field(pattern=r"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")]
Percentage = Annotated[float, Field(ge=0, le=100), PlainSerializer(whole)]
AttributeNames = Annotated[list[Text], AtMost(ATTRIBUTES_MAX)]
RoleIds = Annotated[list[Id], AtMost(ROLES_MAX)]


class _Shape(Shape):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, strict=True, extra="ignore"
    )


class State(_Shape):
    """A lifecycle state. Its lists name attributes by id; an alias that is sent becomes the id.

    A name that no attribute has yet is kept, and means the attribute that will have it.
    """

    id: Id
    """The id. Unique in the workflow."""
    name: Text | None = None
    """Shown to people."""
    alias: Text | None = None
    """The name in messages."""
    color: Color | None = None
    """For display, such as `#22c55e`."""
    hidden: AttributeNames = Field(default=[])
    """Attributes that are left out of reads while a record is in this state."""
    required: AttributeNames = Field(default=[])
    """Attributes that completeness counts for this state."""
    read_only: AttributeNames = Field(default=[])
    """Attributes that refuse writes while a record is in this state."""

    @property
    def label(self) -> str:
        """How messages print the state: the alias, or the id without `state-` (C13)."""
        return self.alias or label_of_id(self.id)


class StateDraft(State):
    """A state as asked for; one that is stored may have an alias from before this rule."""

    alias: Alias | None = None
    """The name in messages."""


class TransitionDraft(_Shape):
    """A transition from one state to another, and what it takes."""

    id: Id | None = None
    """The id. Made by the server when it is left out."""
    name: Text | None = None
    """Shown to people."""
    from_state_id: StateName = Field(validation_alias=AliasChoices("fromStateId", "from"))
    """Id or alias of the state where it starts; may also be sent as `from`."""
    to_state_id: StateName = Field(validation_alias=AliasChoices("toStateId", "to"))
    """Id or alias of the state that it leads to; may also be sent as `to`."""
    allowed_role_ids: RoleIds = Field(default=[])
    """Ids of the roles that may take it. Empty: every role."""
    requires_completeness: Percentage | None = None
    """The score that the record needs for the target state, 0 to 100."""


class WorkflowDraft(_Shape):
    """A whole workflow, for POST and PUT alike."""

    id: Id | None = None
    """The id. Made by the server when it is left out; a PUT may repeat it."""
    alias: Alias
    """The name in messages. Unique in the workspace."""
    name: Text
    """Shown to people."""
    description: Description | None = None
    """What the workflow is for."""
    default_state_id: StateName
    """Id or alias of the state of new records."""
    states: Annotated[list[StateDraft], Field(min_length=1), AtMost(STATES_MAX)]
    """The lifecycle states."""
    transitions: Annotated[list[TransitionDraft], AtMost(TRANSITIONS_MAX)] = Field(default=[])
    """The transitions between them."""


class Transition(_Shape):
    """A transition from one state to another, and what it takes."""

    id: Id
    """The id. It never changes."""
    name: Text | None = None
    """Shown to people."""
    from_state_id: Id
    """Id of the state where it starts."""
    to_state_id: Id
    """Id of the state that it leads to."""
    allowed_role_ids: list[Id]
    """Ids of the roles that may take it. Empty: every role."""
    requires_completeness: Percentage | None = None
    """The score that the record needs for the target state, 0 to 100."""


class Workflow(_Shape):
    """A workflow: the lifecycle of the records of its schemas."""

    id: Id
    """The id. It never changes."""
    alias: Text
    """The name in messages. Unique in the workspace."""
    name: Text
    """Shown to people."""
    description: Description | None = None
    """What the workflow is for."""
    default_state_id: Id
    """Id of the state of new records."""
    states: list[State]
    """The lifecycle states."""
    transitions: list[Transition]
    """The transitions between them."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it was last changed."""
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


Missing = Annotated[list[str], AtMost(ATTRIBUTES_MAX)]


class StepQuestion(_Shape):
    """What records_service asks about a record: may it go there? Where may it go at all."""

    definition_version: int
    from_state_id: str
    to_state_id: str | None = None
    scores: Annotated[dict[str, int], AtMost(STATES_MAX)] = Field(default={})
    missing: Annotated[dict[str, Missing], AtMost(STATES_MAX)] = Field(default={})
