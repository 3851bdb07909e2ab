"""The local copy of a workflow: its states, and their lists of attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class State:
    """One lifecycle state; its lists name attributes by id or alias, as they were sent."""

    id: str
    name: str
    alias: str | None
    hidden: frozenset[str]
    required: frozenset[str]
    read_only: frozenset[str]

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Read a state of the public workflow object."""
        return cls(
            id=body["id"],
            name=body.get("name") or body["id"],
            alias=body.get("alias"),
            hidden=frozenset(body.get("hidden") or ()),
            required=frozenset(body.get("required") or ()),
            read_only=frozenset(body.get("readOnly") or ()),
        )

    @property
    def label(self) -> str:
        """The state's name in messages: its alias, or its id without `state-`."""
        return self.alias or self.id.removeprefix("state-")


@dataclass(frozen=True, slots=True)
class Retirement:
    """States of a workflow that no record may enter, because `version` of it will lack them.

    `checked_at` tells it from every other retirement, and from the same one after a later check.
    """

    workspace_id: str
    workflow_id: str
    version: int
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class WorkflowCopy:
    """One version of a workflow definition. No record may enter a state that is being retired."""

    workflow_id: str
    version: int
    default_state_id: str
    states: Mapping[str, State]
    targets: Mapping[str, tuple[str, ...]]
    retired: frozenset[str]

    @classmethod
    def parse(cls, definition: Mapping[str, Any], retired: Iterable[str] = ()) -> Self:
        """Read the public workflow object plus its `version`, as workflow_service tells it."""
        targets: dict[str, tuple[str, ...]] = {}
        for transition in definition.get("transitions") or ():
            start, target = transition["fromStateId"], transition["toStateId"]
            targets[start] = (*targets.get(start, ()), target)
        states = [State.parse(state) for state in definition["states"]]
        return cls(
            workflow_id=definition["id"],
            version=definition["version"],
            default_state_id=definition["defaultStateId"],
            states={state.id: state for state in states},
            targets=targets,
            retired=frozenset(retired),
        )

    def state_named(self, name: str) -> State | None:
        """The state with this id or alias, or None."""
        if name in self.states:
            return self.states[name]
        return next((state for state in self.states.values() if state.label == name), None)
