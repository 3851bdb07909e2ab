"""Pure rules of conversions: from which type to which, and what becomes of a value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from records_service.attributes.model import Attribute, AttributeType
from records_service.option_lists.lookup import Options, id_in, labelled_in
from records_service.option_lists.model import OptionList
from records_service.values.entries import Entries
from records_service.values.validation import Faults, ValueCheck
from shared.errors import ValidationError, truncated
from shared.http.numbers import is_kept, plain_number

T = AttributeType
POSSIBLE: Final[Mapping[AttributeType, Sequence[AttributeType]]] = {
    T.TEXT: (T.TEXT, T.NUMBER, T.BOOLEAN, T.DATETIME, T.MEDIA, T.OPTION),
    T.NUMBER: (T.TEXT, T.NUMBER, T.BOOLEAN, T.OPTION),
    T.BOOLEAN: (T.TEXT, T.NUMBER),
    T.DATETIME: (T.TEXT, T.DATETIME),
    T.MEDIA: (T.TEXT, T.MEDIA),
    T.OPTION: (T.TEXT, T.NUMBER, T.BOOLEAN, T.OPTION),
    T.RELATION: (T.TEXT, T.RELATION),
    T.COMPLEX: (),
}
RULES_OF: Final[Mapping[AttributeType, frozenset[str]]] = {
    T.TEXT: frozenset({"required", "maxLength", "pattern"}),
    T.NUMBER: frozenset({"required", "min", "max"}),
}
"""The rules that an attribute of each type keeps; others keep `required`."""
FORM: Final = frozenset({"type", "multiple", "optionListId"})
"""The fields of a body that a conversion changes."""
TARGET: Final = "targetSchemaId"
"""The field that only relations have."""
INTEGER_MAX: Final = 2**63 - 1
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


class Unconvertible(Exception):
    """A value cannot be converted; the text says why."""


class Converter:
    """Converts the entries of one attribute.

    `labels` are those of the options of the old list, where that is large; `options` what is known
    of the new one.
    """

    def __init__(
        self,
        old: Attribute,
        new: Attribute,
        check: ValueCheck,
        lists: Mapping[str, OptionList],
        options: Options,
        labels: Mapping[str, str],
    ) -> None:
        self._old, self._new, self._check, self._options = old, new, check, options
        self._alias = truncated(old.alias)
        self._to = lists.get(new.option_list_id or "")
        before = lists.get(old.option_list_id or "")
        self._labels = dict(labels)
        if before is not None:
            self._labels.update({one.id: one.label for one in before.values})

    def entries(self, entries: Entries) -> tuple[Entries, list[str]]:
        """The entries that remain, and why values are not among them."""
        kept: Entries = []
        faults: list[str] = []
        for entry in entries:
            converted, lost = self._entry(entry["value"])
            faults += lost
            if converted is None:
                continue
            checked, fault = self._checked(converted)
            if fault is None:
                kept.append({"scope": entry["scope"], "value": checked})
            else:
                faults.append(fault)
        return kept, faults

    def _entry(self, value: Any) -> tuple[Any, list[str]]:
        """The value of an entry, None if nothing remains, and what could not be converted."""
        items = value if self._old.multiple else [value]
        converted, faults = [], []
        for item in items:
            try:
                converted.append(self._one(item))
            except Unconvertible as fault:
                faults.append(str(fault))
        if self._new.multiple:
            if self._new.type in (T.OPTION, T.MEDIA, T.RELATION):
                # Two texts may name one option.
                converted = list({repr(one): one for one in converted}.values())
            return converted or None, faults
        if len(converted) > 1:
            faults.append(f"Value for '{self._alias}' has {len(converted)} items, expected one")
            return None, faults
        return (converted[0] if converted else None), faults

    def _checked(self, value: Any) -> tuple[Any, str | None]:
        """The value as it is stored, and what is wrong with it."""
        faults = Faults(self._options)
        try:
            checked = self._check(value, "", faults)
            faults.check()
        except ValidationError as error:
            return None, error.message
        return checked, None

    def _one(self, value: Any) -> Any:
        old, new = self._old, self._new
        if old.type is new.type and old.option_list_id == new.option_list_id:
            return value
        text = self._text(value)
        if new.type is T.NUMBER:
            return self._number(text)
        if new.type is T.BOOLEAN:
            if text.lower() not in _BOOLEANS:
                raise self._unusable("true, false, 1 or 0", text)
            return _BOOLEANS[text.lower()]
        if new.type is T.OPTION:
            return self._option(text)
        return text.strip() if new.type in (T.DATETIME, T.MEDIA) else text

    def _text(self, value: Any) -> str:
        """What is read of a value: of an option its label, of media the URL."""
        match self._old.type:
            case T.NUMBER | T.BOOLEAN:
                if self._old.type is T.BOOLEAN and self._new.type is T.NUMBER:
                    return str(int(value))
                return orjson.dumps(value).decode()
            case T.OPTION:
                if value not in self._labels:
                    raise Unconvertible(f"Value '{truncated(value)}' is no option any more")
                return self._labels[value]
            case T.MEDIA:
                if not isinstance(value, dict):
                    return str(value)
                if value.keys() - {"url"}:
                    raise Unconvertible(f"Value for '{self._alias}' has more than a URL")
                return str(value["url"])
            case _:
                return str(value)

    def _number(self, text: str) -> int | float:
        literal = text.strip()
        if _NUMBER.fullmatch(literal) is None:
            raise self._unusable("a number such as 1234.5", text)
        if literal.lstrip("-").isdigit():
            number = int(literal)
            if abs(number) > INTEGER_MAX:
                raise self._unusable("a number of at most 64 bits", text)
            return number
        if not is_kept(literal):
            raise self._unusable("a number with at most 15 significant digits", text)
        return plain_number(float(literal))

    def _option(self, text: str) -> str:
        """The option that is called so: by its id, alias or label."""
        assert self._to is not None
        name = text.strip()
        found = id_in(self._to, name, self._options)
        if found is not None:
            return found
        labelled = labelled_in(self._to, name, self._options)
        if len(labelled) == 1:
            return labelled[0]
        if labelled:
            raise Unconvertible(
                f"Value '{truncated(name)}' for '{self._alias}' is the label of {len(labelled)}"
                f" options of list '{truncated(self._to.id)}'"
            )
        raise Unconvertible(
            f"Value '{truncated(name)}' for '{self._alias}' is not in option list"
            f" '{truncated(self._to.id)}'"
        )

    def _unusable(self, expected: str, text: str) -> Unconvertible:
        return Unconvertible(
            f"Value for '{self._alias}' must be {expected}, got '{truncated(text)}'"
        )


def new_body(body: Mapping[str, Any], form: Mapping[str, Any]) -> dict[str, Any]:
    """The attribute's body with another form; what the new type has not is gone."""
    new_type = AttributeType(form["type"])
    kept = RULES_OF.get(new_type, frozenset({"required"}))
    gone = FORM if new_type is T.RELATION else FORM | {TARGET}
    rest = {name: value for name, value in body.items() if name not in gone}
    rules = {rule: value for rule, value in body["validation"].items() if rule in kept}
    return {**rest, **form, "validation": rules}
