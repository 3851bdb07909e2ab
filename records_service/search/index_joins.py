"""Joins conditions by `and` and `or`, with the ways to look for the records that meet them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from records_service.search.index_sources import Source, Terms, Union
from records_service.search.sql import Arguments

Sql: TypeAlias = Callable[[Arguments], str]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to look for the records that meet a condition."""

    source: Source
    rest: Sql
    """What remains to be checked of the records of the source."""
    checks: bool = False
    """Whether that is more than what the caller sees."""
    parts: Sequence[Way] = ()
    """Of records that meet one of several conditions: the ways to those of each."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition, and the ways to look for the records that meet it; none: it is met too often."""

    sql: Sql
    ways: Sequence[Way] = ()
    members: Sequence[Condition] = field(default=())
    """Of those that must all be met."""


def all_of(members: Sequence[Condition]) -> Condition:
    """All of these; the ways of each are ways of all, and those by terms are one way together."""
    flat = [inner for each in members for inner in (each.members or (each,))]
    if len(flat) == 1:
        return flat[0]

    def sql(arguments: Arguments) -> str:
        return _joined_by(" AND ", [each.sql(arguments) for each in flat])

    ways: list[Way] = []
    by_terms = {
        index: way
        for index, each in enumerate(flat)
        for way in each.ways[:1]
        if isinstance(way.source, Terms)
    }
    if by_terms:
        groups = tuple(group for way in by_terms.values() for group in way.source.groups)  # type: ignore[attr-defined]
        ways.append(_with_rest(Terms(groups), flat, by_terms))
    for index, each in enumerate(flat):
        ways += [
            _with_rest(way.source, flat, {index: way}) for way in each.ways if index not in by_terms
        ]
    return Condition(sql, ways, flat)


def _with_rest(source: Source, members: Sequence[Condition], covered: dict[int, Way]) -> Way:
    def rest(arguments: Arguments) -> str:
        return _joined_by(
            " AND ",
            [
                covered[index].rest(arguments) if index in covered else each.sql(arguments)
                for index, each in enumerate(members)
            ],
        )

    checks = len(covered) < len(members) or any(each.checks for each in covered.values())
    return Way(source, rest, checks)


def any_of(members: Sequence[Condition]) -> Condition:
    """One of these; it can be looked for where each of them can."""

    def sql(arguments: Arguments) -> str:
        return _joined_by(" OR ", [each.sql(arguments) for each in members])

    if not all(each.ways for each in members):
        return Condition(sql)
    found = [each.ways[0] for each in members]
    sources = [each.source for each in found]
    groups = [
        source.groups[0]
        for source in sources
        if isinstance(source, Terms) and len(source.groups) == 1
    ]
    others = [
        source for source in sources if not (isinstance(source, Terms) and len(source.groups) == 1)
    ]
    merged = (
        [Terms((tuple(sorted({term for group in groups for term in group})),))] if groups else []
    )
    parts = (*merged, *others)
    source = parts[0] if len(parts) == 1 else Union(parts)
    return Condition(sql, (Way(source, sql, True, found),))


def both(found: Condition, residual: Condition) -> Condition:
    """What the index finds, of which the record tells whether it is right."""
    return all_of([found, residual])


def _joined_by(joint: str, conditions: Sequence[str]) -> str:
    kept = [each for each in dict.fromkeys(conditions) if each != "true" or joint == " OR "]
    if len(kept) == 1:
        return kept[0]
    return f"({joint.join(kept)})" if kept else "true"
