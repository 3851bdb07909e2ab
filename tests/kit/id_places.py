"""Where a request names something by its id: in the path, in the query, and in the body.

The places are read from the description, so those of a new route are found by themselves. A name
that says of no kind of thing yet is a `KeyError` here: `KINDS` then needs a line.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.kit.described import DOCUMENT, Operation, example_of

# What a field or parameter is the id of, by its name without `Id` or `Ids`.
KINDS = {
    "attribute": "attr",
    "dimension": "dim",
    "defaultSegment": "seg",
    "optionList": "ol",
    "value": "val",
    "parent": "val",
    "schema": "schema",
    "targetSchema": "schema",
    "workflow": "wf",
    "state": "state",
    "fromState": "state",
    "toState": "state",
    "defaultState": "state",
    "lifecycleState": "state",
    "role": "role",
    "apiKey": "apikey",
    "allowedRole": "role",
    "entity": "ent",
    "variant": "var",
    "user": "user",
    "catalog": "cat",
    "category": "ctg",
    "record": "ent",
    "query": "sq",
    "import": "imp",
    "job": "job",
    "changeSet": "cs",
    "channel": "ch",
    "log": "synclog",
    "operation": "op",
    "annotation": "ann",
    "webhook": "wh",
    "delivery": "dlv",
}
PREFIXES = {*KINDS.values()}
# What a body needs besides, so that the service looks at the field.
BESIDE: dict[str, dict[str, Any]] = {
    "optionListId": {"type": "option", "validation": {}, "dimensionIds": []},
    "targetSchemaId": {"type": "relation", "validation": {}, "dimensionIds": []},
    "attributes": {"type": "complex", "validation": {}, "dimensionIds": []},
    "values": {"hierarchical": True},
}
# What a field holds that the example lacks.
MADE: dict[str, Any] = {
    "guards": [{"attributeId": "attr-price", "operator": "isNotEmpty"}],
    "attributes": [
        {"alias": "part", "name": "Part", "type": "option", "optionListId": "ol-colors"}
    ],
}
_NAMED = re.compile(r"(\w+?)Ids?$")
_ID = re.compile(rf"({'|'.join(sorted(PREFIXES))})-[a-z0-9-]+$")
ALIAS = ""
"""The kind of a place that takes an alias only."""


@dataclass(frozen=True)
class Place:
    """`path` leads through the body; the last step may be the name of a member, as `Key`.

    `made` is the first member of the path where the example has none.
    """

    path: tuple[Any, ...]
    kind: str
    in_list: bool = False
    made: Any = None
    fields: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return "/".join(str(step) for step in self.path)

    @property
    def anywhere(self) -> tuple[Any, ...]:
        """The same for all members of a list, and for all names of a map."""
        return tuple(type(step) if isinstance(step, int | Key) else step for step in self.path)

    def id_of(self, word: str) -> str:
        """The id of the thing of this kind that is named so, such as `attr-foreign`."""
        return f"{self.kind}-{word}" if self.kind else word

    def filled(self, body: Any, word: str) -> Any:
        """The body with this id at this place."""
        changed = copy.deepcopy(body)
        first = str(self.path[0])
        if self.made is not None:
            changed[first] = copy.deepcopy(self.made)
        if first in BESIDE and BESIDE[first].keys() <= self.fields:
            changed |= BESIDE[first]
        at = changed
        for step in self.path[:-1]:
            at = at[step]
        last, found = self.path[-1], self.id_of(word)
        if isinstance(last, Key):
            at[found] = at.pop(last.name)
        else:
            at[last] = [found] if self.in_list else found
        return changed


@dataclass(frozen=True)
class Key:
    """The name of a member of a map."""

    name: str

    def __str__(self) -> str:
        return f"({self.name})"


def path_places(operation: Operation) -> Iterator[tuple[str, str]]:
    """Parameter and kind of each id in the path."""
    for name, example in operation.examples.items():
        found = _ID.match(example)
        yield name, found[1] if found else ALIAS


def query_places(operation: Operation) -> Iterator[tuple[str, str]]:
    """Parameter and kind of each id in the query."""
    for parameter in operation.described["parameters"]:
        name = parameter.get("name", "")
        if parameter.get("in") == "query" and (found := _NAMED.match(name)):
            yield name, KINDS[found[1]]


def body_places(operation: Operation) -> list[Place]:
    """The places of the body, each to be filled in the operation's example: of a list the first."""
    if operation.schema is None:
        return []
    fields = frozenset(_resolved(operation.schema).get("properties", {}))
    found = [*_by_value(operation.example, ()), *_by_schema(operation.schema, operation.example)]
    first = {place.anywhere: place for place in reversed(found)}
    return [replace(place, fields=fields) for place in first.values()]


def _by_value(part: Any, path: tuple[Any, ...]) -> Iterator[Place]:
    """What looks like an id in the example: names of members, and texts."""
    if isinstance(part, dict):
        for name, member in part.items():
            if path[-1:] == ("values",):
                yield Place((*path, Key(name)), ALIAS)
            elif found := _ID.match(name):
                yield Place((*path, Key(name)), found[1])
            if name != "id":
                yield from _by_value(member, (*path, name))
    elif isinstance(part, list):
        for index, member in enumerate(part):
            yield from _by_value(member, (*path, index))
    elif isinstance(part, str) and (found := _ID.match(part)):
        yield Place(path, found[1])


def _by_schema(
    schema: dict[str, Any], part: Any, path: tuple[Any, ...] = (), made: Any = None
) -> Iterator[Place]:
    """What the model declares as an id, whether the example has it or not."""
    schema = _resolved(schema)
    if schema.get("type") == "array":
        for index, member in enumerate(part):
            yield from _by_schema(schema["items"], member, (*path, index), made)
    for name, declared in schema.get("properties", {}).items():
        resolved = _resolved(declared)
        if (found := _NAMED.match(name)) and resolved.get("type") in ("string", "array"):
            yield Place((*path, name), KINDS[found[1]], resolved["type"] == "array", made)
        elif _has_ids(resolved) and part.get(name):
            yield from _by_schema(resolved, part[name], (*path, name), made)
        elif _has_ids(resolved) and not path:
            missing = MADE.get(name, _least(resolved))
            yield from _by_schema(resolved, missing, (name,), missing)


def _least(schema: dict[str, Any]) -> Any:
    """As little as this schema takes, with one member where it is a list."""
    if schema.get("type") == "array":
        return [example_of(schema["items"], "made")]
    return example_of(schema, "made")


def _has_ids(schema: dict[str, Any]) -> bool:
    schema = _resolved(schema)
    if schema.get("type") == "array":
        return _has_ids(schema["items"])
    members = schema.get("properties", {})
    return any(_NAMED.match(name) or _has_ids(one) for name, one in members.items())


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Behind references, and the type of what may be null as well."""
    while True:
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        elif "anyOf" in schema:
            (schema, *_) = [one for one in schema["anyOf"] if one.get("type") != "null"]
        else:
            return schema
