"""What a request costs in points, by the rules of Shopify's page on rate limits.

A scalar costs nothing, an object one point, a connection two and its objects, a mutation ten;
`productSet` has a formula of its own. Before a request runs, the sizes are those that it asks for;
afterwards those that came, and the difference is given back.
"""

from __future__ import annotations

import math
from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    get_named_type,
    is_leaf_type,
)
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import Undefined

UNASKED: Any = object()
"""In place of data: the sizes are those that the request asks for."""
MUTATION = 10
FREE = {"userErrors", "pageInfo"}


class Costs:
    """The points of one operation with these variables."""

    def __init__(
        self, schema: GraphQLSchema, operation: OperationDefinitionNode, variables: VariableValues
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._variables = variables

    def of(self, data: Any = UNASKED) -> int:
        """At most, or of what came."""
        is_mutation = self._operation.operation is OperationType.MUTATION
        root = self._schema.mutation_type if is_mutation else self._schema.query_type
        return math.ceil(self._selection(self._operation.selection_set, root, data, is_mutation))

    def _selection(self, selection_set, kind, data, is_root_of_mutation=False) -> float:
        cost = 0.0
        for node in selection_set.selections if selection_set else ():
            if isinstance(node, InlineFragmentNode):
                named = node.type_condition
                of = self._schema.get_type(named.name.value) if named else kind
                cost += self._selection(node.selection_set, of, data)
            elif isinstance(node, FieldNode):
                cost += self._field(node, kind, data, is_root_of_mutation)
            elif isinstance(node, FragmentSpreadNode):
                raise NotImplementedError("fragments by name")
        return cost

    def _field(self, node: FieldNode, kind, data, is_root_of_mutation: bool) -> float:
        name = node.name.value
        if name in FREE or name.startswith("__"):
            return 0.0
        definition = kind.fields[name]
        named = get_named_type(definition.type)
        if is_leaf_type(named):
            return 0.0
        key = node.alias.value if node.alias else name
        came = data if data is UNASKED else (data or {}).get(key)
        arguments = get_argument_values(definition, node, self._variables)
        if is_root_of_mutation:
            payload = self._selection(node.selection_set, named, came)
            cost = MUTATION + payload + self._variants(name, arguments)
        elif named.name.endswith("Connection"):
            cost = 2 + self._nodes(node, named, came, arguments)
        elif "ids" in arguments and came is UNASKED:
            cost = len(arguments["ids"]) * self._object(node, named, came)
        elif "ids" in arguments:
            cost = sum(self._object(node, named, one) for one in came or ())
        elif isinstance(came, list):
            cost = bool(came) + sum(self._selection(node.selection_set, named, one) for one in came)
        else:
            cost = self._object(node, named, came)
        return cost

    def _nodes(self, node: FieldNode, named, came, arguments) -> float:
        size = arguments.get("first")
        for inner in node.selection_set.selections if node.selection_set else ():
            if isinstance(inner, FieldNode) and inner.name.value == "nodes":
                of = get_named_type(named.fields["nodes"].type)
                if came is UNASKED:
                    return (size or 0) * self._object(inner, of, came)
                return sum(self._object(inner, of, one) for one in (came or {}).get("nodes", ()))
        return 0.0

    def _object(self, node: FieldNode, named, came) -> float:
        if came is None:
            return 0.0
        return 1 + self._selection(node.selection_set, named, came)

    @staticmethod
    def _variants(name: str, arguments: dict[str, Any]) -> float:
        sent = arguments.get("input", Undefined)
        if name != "productSet" or not isinstance(sent, dict):
            return 0.0
        return 0.2 * len(sent.get("variants") or ()) + 0.4 * len(sent.get("metafields") or ())


class Bucket:
    """Points that come back with time; what does not fit in is refused, and counted."""

    def __init__(self, clock, maximum: float = 2_000, restore_rate: float = 100) -> None:
        self._clock = clock
        self.maximum = maximum
        self.restore_rate = restore_rate
        self._available = maximum
        self._at = clock()
        self.lowest = maximum

    @property
    def available(self) -> float:
        now = self._clock()
        back = (now - self._at) * self.restore_rate
        self._available = min(self.maximum, self._available + back)
        self._at = now
        return self._available

    def take(self, points: float) -> bool:
        """Whether there were as many."""
        if self.available < points:
            return False
        self._available -= points
        self.lowest = min(self.lowest, self._available)
        return True

    def give_back(self, points: float) -> None:
        self._available = min(self.maximum, self.available + points)

    def status(self) -> dict[str, float]:
        return {
            "maximumAvailable": float(self.maximum),
            "currentlyAvailable": math.floor(self.available),
            "restoreRate": float(self.restore_rate),
        }
