"""Turns pydantic's validation errors into the messages of the public API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import pydantic
from pydantic_core import ErrorDetails

from shared.errors import ValidationError, Violation, counted, truncated
from shared.http.json_types import js_type
from shared.http.numbers import NOT_KEPT, plain_number
from shared.http.shapes import UNKNOWN_FIELD

SHOWN_VIOLATIONS_MAX: Final = 100
ERRORS_LOOKED_AT_MAX: Final = 20_000


_EXPECTED_TYPES: Final[Mapping[str, str]] = {
    "string_type": "string",
    "string_sub_type": "string",
    "string_unicode": "string",
    "bytes_type": "string",
    "int_type": "number",
    "float_type": "number",
    "decimal_type": "number",
    "bool_type": "boolean",
    "list_type": "array",
    "tuple_type": "array",
    "set_type": "array",
    "frozen_set_type": "array",
    "iterable_type": "array",
    "dict_type": "object",
    "mapping_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
    "dataclass_type": "object",
    "none_required": "null",
}
"""What was expected, by the name that pydantic gives to a value of the wrong JSON type."""

_FORMS: Final[Mapping[str, str]] = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "float_parsing": "a number",
    "decimal_parsing": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "datetime_type": "an ISO 8601 date and time",
    "datetime_parsing": "an ISO 8601 date and time",
    "datetime_from_date_parsing": "an ISO 8601 date and time",
    "datetime_object_invalid": "an ISO 8601 date and time",
    "timezone_aware": "an ISO 8601 date and time with its offset",
    "date_type": "an ISO 8601 date",
    "date_parsing": "an ISO 8601 date",
    "date_from_datetime_parsing": "an ISO 8601 date",
    "url_type": "an absolute URL",
    "url_parsing": "an absolute URL",
    "url_scheme": "an absolute URL",
    "uuid_parsing": "a UUID",
}
"""The form that was expected of a value, where its JSON type alone does not say it."""

_BOUNDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than_equal": lambda bound: f"must be at least {plain_number(bound['ge'])}",
    "greater_than": lambda bound: f"must be more than {plain_number(bound['gt'])}",
    "less_than_equal": lambda bound: f"must be at most {plain_number(bound['le'])}",
    "less_than": lambda bound: f"must be less than {plain_number(bound['lt'])}",
    "multiple_of": lambda bound: f"must be a multiple of {plain_number(bound['multiple_of'])}",
    "literal_error": lambda bound: f"must be one of {bound['expected']}",
    "string_pattern_mismatch": lambda bound: f"must match pattern '{bound['pattern']}'",
    "number_not_kept": lambda _: NOT_KEPT,
    "enum": lambda bound: f"must be one of {bound['expected']}",
}


_LENGTHS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "string_too_long": lambda bound: f"exceeds maximum length {bound['max_length']}",
    "string_too_short": lambda bound: (
        f"must have at least {counted(bound['min_length'], 'character')}"
    ),
    "too_long": lambda bound: f"must have at most {counted(bound['max_length'], 'item')}",
    "too_short": lambda bound: f"must have at least {counted(bound['min_length'], 'item')}",
}

_REASONS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "missing": lambda _: "is required",
    "extra_forbidden": lambda _: "is not known",
    UNKNOWN_FIELD: lambda context: _not_known(context["known"]),
}


_ALIKE: Final = frozenset(
    {
        *("missing", "extra_forbidden", "value_error", "literal_error", "finite_number"),
        *("string_type", "int_type", "float_type", "bool_type", "int_from_float"),
        *("list_type", "dict_type", "model_type", "string_pattern_mismatch", "number_not_kept"),
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of"),
        *("string_too_long", "string_too_short", "too_long", "too_short", UNKNOWN_FIELD),
    }
)
"""What is wrong with a value whether it comes as JSON or as what JSON was read into."""


def wants_json(error: pydantic.ValidationError) -> bool:
    """Whether something may be right in JSON that is wrong once it was read, as a date may be."""
    if error.error_count() > ERRORS_LOOKED_AT_MAX:
        return False
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return any(problem["type"] not in _ALIKE for problem in problems)


def shown(value: Any) -> str:
    """A value as a message quotes it: never longer than a line."""
    if value is None or isinstance(value, bool):
        return {None: "null", False: "false", True: "true"}[value]
    if isinstance(value, (list, tuple, dict)):
        return f"{js_type(value)} of {len(value)}"
    text = truncated(value)
    return text if isinstance(value, (int, float)) else f"'{text}'"


def pointer_to(path: Sequence[str | int]) -> str:
    """The JSON pointer (RFC 6901) of a place."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def field_at(path: Sequence[str | int]) -> str:
    """`Field 'states.0.id'`, or `Body` for the whole."""
    if not path:
        return "Body"
    return f"Field '{truncated('.'.join(map(str, path)))}'"


def _not_known(known: Sequence[str]) -> str:
    expected = known[0] if len(known) == 1 else f"one of {', '.join(known)}"
    return f"is not known: expected {expected}"


def unknown_fields(sent: Iterable[str], known: Sequence[str], at: str = "") -> list[Violation]:
    """What is wrong with the fields of an object, sent at this place, that are not known."""
    return [
        Violation(
            f"{at}{pointer_to([name])}",
            f"{field_at([*at.split('/')[1:], name])} {_not_known(known)}",
        )
        for name in sent
        if name not in known
    ]


def refusal(error: pydantic.ValidationError, sent: Any) -> ValidationError:
    """Everything that is wrong with `sent`, in the order in which the model names it."""
    if error.error_count() > ERRORS_LOOKED_AT_MAX:
        # Each would be made a dictionary of. `AtMost` on lists and objects keeps them few.
        return ValidationError.at("", f"Body has {error.error_count()} errors")
    problems = error.errors(include_url=False)[:SHOWN_VIOLATIONS_MAX]
    if problems[0]["type"] == "json_invalid":
        # It was read by another parser before, so this is the one thing that can be wrong.
        return ValidationError.at("", "Malformed JSON: nested too deeply")
    found: dict[str, Violation] = {}
    for (path, problem), others in _by_place(problems, sent):
        violation = _violation(path, problem, others)
        found.setdefault(violation.pointer, violation)
    return ValidationError.of(found.values())


def _by_place(
    problems: Sequence[ErrorDetails], sent: Any
) -> list[tuple[tuple[tuple[str | int, ...], ErrorDetails], list[ErrorDetails]]]:
    """Problems in order, each with all those of the same place: a union reports every member."""
    places: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    for problem in problems:
        places.setdefault(_path(problem, sent), []).append(problem)
    return [((path, found[0]), found) for path, found in places.items()]


def _path(problem: ErrorDetails, sent: Any) -> tuple[str | int, ...]:
    """Where in the document it is; pydantic also names validators and union members on the way."""
    path: list[str | int] = []
    place = sent
    for part in problem["loc"]:
        inside = isinstance(place, dict) and part in place
        if inside or (isinstance(place, list) and isinstance(part, int) and part < len(place)):
            place = place[part]
        elif problem["type"] != "missing" or part != problem["loc"][-1]:
            continue
        path.append(part)
    return tuple(path)


def _violation(
    path: tuple[str | int, ...], problem: ErrorDetails, others: Sequence[ErrorDetails]
) -> Violation:
    return Violation(pointer_to(path), _message(field_at(path), problem, others))


def _message(field: str, problem: ErrorDetails, others: Sequence[ErrorDetails]) -> str:
    kind, value, context = problem["type"], problem["input"], problem.get("ctx") or {}
    if kind in _EXPECTED_TYPES:
        return f"{field} expects {_expected(value, others)}"
    if kind in _FORMS:
        return f"{field} expects {_FORMS[kind]}, got {shown(value)}"
    if kind in _BOUNDS:
        return f"{field} {_BOUNDS[kind](context)}, got {shown(value)}"
    if kind in _LENGTHS:
        return f"{field} {_LENGTHS[kind](context)}, got {len(value)}"
    if kind in ("value_error", "assertion_error"):
        reason = str(context["error"])
        return reason if "'" in reason else f"{field}: {reason}"
    reason_of = _REASONS.get(kind)
    return f"{field} {'is not valid' if reason_of is None else reason_of(context)}"


def _expected(value: Any, others: Sequence[ErrorDetails]) -> str:
    """`type 'string' or 'object', got 'number'`; a number that is no integer is shown itself."""
    kinds = (_EXPECTED_TYPES.get(each["type"]) for each in others)
    expected = list(dict.fromkeys(kind for kind in kinds if kind is not None))
    got = js_type(value)
    if got in expected:
        return f"a whole number, got {shown(value)}"
    names = " or ".join(f"'{kind}'" for kind in expected)
    return f"type {names}, got '{got}'"
