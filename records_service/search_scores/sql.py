"""The completeness of a record as an SQL expression, as `values.completeness` has it in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from records_service.attributes.model import AttributeType, SubAttribute
from records_service.search_scores.rules import Rules

Name = Callable[[Any, str], str]
"""The name of one more argument of a statement, of this PostgreSQL type."""
_EMPTY: Final = """('null', '""', '[]', '{}')"""
_VALUE: Final = "'value'"


def score_in_sql(
    rules: Rules, scope: str, state: str, name: Name, row: str = "r.", values: str | None = None
) -> str:
    """The score of the record in a row with `schema_id` and `values`: 0 to 100, or NULL.

    `values` is the expression of the values, if it is not that column. `scope` is a completed scope
    as JSON, `state` an expression with the state of the record. It is NULL where the rules do not
    have the schema.
    """
    counted = f"({name(rules.counted, 'text')}::jsonb)"
    forms = f"({name(rules.forms, 'text')}::jsonb)"
    asked = f"({name(scope, 'text')}::jsonb)"
    value = _Value(rules, asked, name, values or f"{row}values")
    # A key that is not there is NULL, with or without a state.
    listed = (
        f"coalesce({counted} -> ({row}schema_id || ' ' || {state}), {counted} -> {row}schema_id)"
    )
    return f"""(
        SELECT CASE WHEN l.listed IS NULL THEN NULL ELSE (
               SELECT CASE WHEN count(*) = 0 THEN 100
                           ELSE 100 * count(*) FILTER (WHERE {_is_filled("h.held")}) / count(*) END
                 FROM jsonb_array_elements_text(l.listed) AS p (place)
                CROSS JOIN LATERAL (SELECT {forms} -> p.place::int AS form OFFSET 0) AS f
                CROSS JOIN LATERAL (SELECT {value.of("f.form")} AS held OFFSET 0) AS h
                {_guarded(value) if rules.has_guards else ""}
               ) END
          FROM (SELECT {listed} AS listed OFFSET 0) AS l)"""  # noqa: S608 - values are arguments


def _guarded(value: _Value) -> str:
    """The condition that the guards let the attribute of `f.form` count."""
    return f"""
                WHERE NOT EXISTS (
                      SELECT FROM jsonb_path_query(f.form, '$.guards[*]') AS g (guard)
                       CROSS JOIN LATERAL (SELECT {value.of("g.guard")} AS held OFFSET 0) AS w
                       WHERE NOT {_holds("g.guard", "w.held")})"""


class _Value:
    """Expressions with the value of an attribute that holds in the scope."""

    def __init__(self, rules: Rules, scope: str, name: Name, document: str) -> None:
        self._scope, self._name, self._document = scope, name, document
        self._looks_at_relations = rules.looks_at_relations
        self._nested = [
            f"WHEN {name(each, 'text')} THEN CASE WHEN"
            f" {self._is_left('e.e -> ' + _VALUE, definition.attributes)} THEN e.e -> {_VALUE} END"
            for each, definition in rules.nested.items()
        ]

    def of(self, form: str) -> str:
        """The expression, for an attribute as a document of the rules has it."""
        entries = f"{self._document} -> ({form} ->> 'id')"
        if self._looks_at_relations:
            return self._best(entries, form)
        # Of most attributes there is one entry or none, which takes a quarter of the time.
        return f"""(
            SELECT CASE jsonb_array_length(o.entries)
                   WHEN 1 THEN CASE WHEN {self._scope} @> (o.entries -> 0 -> 'scope')
                                    THEN o.entries -> 0 -> {_VALUE} END
                   ELSE {self._best("o.entries", form)} END
              FROM (SELECT {entries} AS entries OFFSET 0) AS o
             WHERE o.entries IS NOT NULL)"""  # noqa: S608 - expressions

    def _best(self, entries: str, form: str) -> str:
        """The value of that of several entries which holds."""
        dimensions = f"jsonb_array_elements_text({form} -> 'dimensions') WITH ORDINALITY"
        # An entry that names deleted records alone is none; another entry may hold then.
        return f"""(
            SELECT l.living
              FROM jsonb_array_elements({entries}) WITH ORDINALITY AS e (e, place)
             CROSS JOIN LATERAL (SELECT {self._living(form)} AS living OFFSET 0) AS l
             WHERE {self._scope} @> (e.e -> 'scope')
               AND (l.living = e.e -> {_VALUE} OR {_is_filled("l.living")})
             ORDER BY (SELECT count(*) FROM jsonb_object_keys(e.e -> 'scope')) DESC,
                      (SELECT array_agg(e.e -> 'scope' ? d.d ORDER BY d.place)
                         FROM {dimensions} AS d (d, place)) DESC,
                      e.place
             LIMIT 1)"""  # noqa: S608 - expressions

    def _living(self, form: str) -> str:
        """The value of the entry `e.e` without relations to deleted records."""
        value = f"e.e -> {_VALUE}"
        if not self._looks_at_relations:
            return value
        target = f"{form} ->> 'target'"
        several = (
            f"(SELECT coalesce(jsonb_agg(i.i ORDER BY i.place), '[]')"  # noqa: S608
            f" FROM jsonb_array_elements({value}) WITH ORDINALITY AS i (i, place)"
            f" WHERE {self._is_alive('i.i', target)})"
        )
        relation = (
            f"CASE WHEN jsonb_typeof({value}) = 'array' THEN {several}"
            f" WHEN {self._is_alive(value, target)} THEN {value} END"
        )
        nested = f" ELSE CASE {form} ->> 'id' {' '.join(self._nested)} ELSE {value} END"
        others = nested if self._nested else f" ELSE {value}"
        return f"CASE WHEN {form} ? 'target' THEN {relation}{others} END"

    def _is_alive(self, value: str, target: str) -> str:
        """Whether a value names no record, or one that is there, of the target schema or any."""
        return (
            f"(jsonb_typeof({value}) IS DISTINCT FROM 'string' OR EXISTS ("
            "SELECT FROM records t WHERE t.workspace_id = $1"
            f" AND t.id = ({value}) #>> '{{}}' AND {target} IN ('', t.schema_id)))"
        )

    def _is_left(self, value: str, fields: Sequence[SubAttribute], depth: int = 0) -> str:
        """Whether a complex value has more than relations to deleted records."""
        related = [each for each in fields if _leads_to_records(each)]
        item = f"i{depth}.i"
        others = self._name([each.alias for each in related], "text[]")
        ways = [
            f"jsonb_typeof({item}) <> 'object'",
            f"EXISTS (SELECT FROM jsonb_object_keys({item}) AS k (k) WHERE k.k <> ALL({others}))",
        ]
        for each in related:
            inner = f"{item} -> {self._name(each.alias, 'text')}"
            if each.type is AttributeType.RELATION:
                target = self._name(each.target_schema_id or "", "text")
                ways.append(
                    f"EXISTS (SELECT FROM jsonb_path_query({inner}, '$[*]') AS v (v)"
                    f" WHERE {self._is_alive('v.v', target)})"
                )
            else:
                ways.append(self._is_left(inner, each.attributes, depth + 1))
        return (
            f"EXISTS (SELECT FROM jsonb_path_query({value}, '$[*]') AS i{depth} (i)"
            f" WHERE {' OR '.join(ways)})"
        )


def _leads_to_records(field: SubAttribute) -> bool:
    return field.type is AttributeType.RELATION or any(map(_leads_to_records, field.attributes))


def _is_filled(value: str) -> str:
    """Neither nothing, nor an empty text, list or object."""
    return f"({value} NOT IN {_EMPTY}) IS TRUE"


def _holds(guard: str, value: str) -> str:
    """Whether a guard lets its attribute count."""
    sought = f"{guard} -> 'value'"
    return f"""CASE {guard} ->> 'operator'
        WHEN 'isEmpty' THEN NOT {_is_filled(value)}
        WHEN 'isNotEmpty' THEN {_is_filled(value)}
        WHEN 'equals' THEN {_matches(value, sought)}
        WHEN 'notEquals' THEN NOT {_matches(value, sought)}
        ELSE jsonb_typeof({sought}) = 'array' AND EXISTS (
             SELECT FROM jsonb_array_elements({sought}) AS c (choice)
              WHERE {_matches(value, "c.choice")}) END"""


def _matches(value: str, sought: str) -> str:
    """Equal, or one of several values is."""
    found = f"coalesce({value}, 'null')"
    return f"""CASE WHEN jsonb_typeof({sought}) = 'array' THEN {found} = ({sought})
        ELSE EXISTS (SELECT FROM jsonb_path_query({found}, '$[*]') AS m (m)
                      WHERE m.m = ({sought})) END"""
