"""Maps settings of an Akeneo attribute to validation rules, and lists those without counterpart."""

from __future__ import annotations

from typing import Any

import re2

from deploy.importers.akeneo.reading import SourceAttribute
from deploy.importers.akeneo.sources import Ledger
from deploy.importers.akeneo.types import TYPES, Shape

# What Akeneo's forms look like, and what is moved elsewhere: no rules about values.
_NO_RULES = frozenset(
    {
        "auto_option_sorting",
        "default_metric_unit",
        "metric_family",
        "minimum_input_length",
        "reference_data_name",
        "useable_as_grid_filter",
        "wysiwyg_enabled",
    }
)
_BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">"}
_MOVED_FLAGS = "ims"

Rules = dict[str, Any]


def rules_of(attribute: SourceAttribute, shape: Shape, ledger: Ledger) -> Rules:
    """The `validation` of the attribute; the ledger is told what is not in it."""
    rules: Rules = {}
    unmoved = {k: v for k, v in attribute.settings.items() if k not in _NO_RULES}
    if shape is Shape.IDENTIFIER:
        rules["required"] = True
    if attribute.unique and TYPES[shape] in ("text", "number"):
        rules["unique"] = True
    elif attribute.unique:
        unmoved["unique"] = "1"
    if TYPES[shape] == "text":
        _move_text_rules(attribute, unmoved, rules, ledger)
    if shape in (Shape.NUMBER, Shape.MEASURE, Shape.PRICE):
        _move_number_rules(unmoved, rules)
    for setting, value in unmoved.items():
        ledger.left[f"attribute setting {setting}={value}"] += 1
    return rules


def attribute_pattern(regexp: str) -> str:
    """A PHP pattern such as `/^[A-Z]+$/i` as RE2 reads it; `ValueError` where it cannot."""
    if not regexp or regexp[0].isalnum() or regexp[0] in "\\ ":
        raise ValueError("it has no delimiters")
    closing = _BRACKETS.get(regexp[0], regexp[0])
    body, found, flags = regexp[1:].rpartition(closing)
    if not found:
        raise ValueError("its closing delimiter is missing")
    flags = flags.replace("u", "")  # RE2 reads text as Unicode anyway.
    if set(flags) - set(_MOVED_FLAGS):
        raise ValueError(f"modifier '{flags}' is not supported")
    pattern = f"(?{flags}){body}" if flags else body
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        raise ValueError("it uses a feature that RE2 does not have, such as a look-ahead") from None
    return pattern


def _move_text_rules(
    attribute: SourceAttribute, unmoved: dict[str, str], rules: Rules, ledger: Ledger
) -> None:
    """Takes from `unmoved` what has a rule."""
    if unmoved.get("max_characters", "").isdigit():
        rules["maxLength"] = int(unmoved.pop("max_characters"))
    regexp = unmoved.get("validation_regexp")
    if regexp is None:
        return
    try:
        rules["pattern"] = attribute_pattern(regexp)
    except ValueError as why:
        ledger.notes.append(
            f"Attribute '{attribute.code}' is imported without its pattern {regexp}: {why}"
        )
        return
    del unmoved["validation_regexp"]
    if unmoved.get("validation_rule") == "regexp":
        del unmoved["validation_rule"]


def _move_number_rules(unmoved: dict[str, str], rules: Rules) -> None:
    """As for texts. "Whole numbers only" stays: it has no rule."""
    for setting, rule in (("number_min", "min"), ("number_max", "max")):
        try:
            rules[rule] = float(unmoved[setting])
        except (KeyError, ValueError):
            continue
        del unmoved[setting]
    if unmoved.pop("negative_allowed", "") == "0":
        rules["min"] = max(rules.get("min", 0), 0)
    if unmoved.get("decimals_allowed") == "1":
        del unmoved["decimals_allowed"]
