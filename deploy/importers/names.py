"""Derives the ids and aliases of everything in Sigma from the codes it had in the source.

The same code always gives the same id, so a second run finds what the first one made. Codes are the
same whatever their case, and ids are lower case here, so nothing is confused by that;
aliases keep the case in which a code was declared.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from deploy.importers.csv_rows import key_of

_ID_LENGTH_MAX = 128
_STRANGE = re.compile(r"[^a-z0-9._-]+")
_ALIAS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~-]{0,127}", re.ASCII)
_HASH_LENGTH = 8
_EXTERNAL_KEY_LENGTH_MAX = 255

LOCALE, CHANNEL, CURRENCY = "locale", "channel", "currency"
ENABLED, GROUPS = "enabled", "groups"
WITHOUT_FAMILY = "without-family"


def slug(code: str, length_max: int = _ID_LENGTH_MAX) -> str:
    """The code as part of an id; two different codes never give one slug.

    A code with letters that no id may have, or a very long one, keeps its beginning and is told
    apart by a hash of the whole.
    """
    key = key_of(code)
    plain = _STRANGE.sub("-", key).strip("-")
    if plain == key and len(plain) <= length_max:
        return plain
    tail = hashlib.sha256(key.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{plain[: length_max - _HASH_LENGTH - 1]}-{tail}".lstrip("-")


@dataclass(frozen=True, slots=True)
class Names:
    """`prefix` keeps a moved catalogue apart from what a workspace already holds."""

    prefix: str = ""

    def alias(self, code: str) -> str:
        """What people and data call it: the code itself, wherever an alias may be written so."""
        alias = self.prefix + code
        return alias if _ALIAS.fullmatch(alias) else slug(alias)

    def attribute(self, code: str) -> str:
        """The id of an attribute."""
        return self._id("attr", code)

    def option_list(self, code: str) -> str:
        """The id of the list of an attribute's options."""
        return self._id("ol", code)

    def option(self, list_code: str, code: str) -> str:
        """The id of an option, which names its list: options of two lists may share a code."""
        return self._id("val", f"{list_code}-{code}")

    def unit_list(self, measurement_family: str) -> str:
        """What the list of a measurement family's units is called, before it becomes an id."""
        return f"unit-{measurement_family}"

    def schema(self, code: str) -> str:
        """The id of the schema that a family becomes."""
        return self._id("schema", code)

    def workflow(self, code: str) -> str:
        """The id of a family's workflow."""
        return self._id("wf", code)

    def group(self, family: str, code: str) -> str:
        """The id of an attribute group in a family's schema."""
        return self._id("grp", f"{family}-{code}")

    def dimension(self, code: str) -> str:
        """The id of one of the three dimensions."""
        return self._id("dim", code)

    def segment(self, code: str) -> str:
        """The id of a locale, channel or currency as a segment."""
        return self._id("seg", code)

    def record(self, identifier: str) -> str:
        """The id of the record that a product becomes."""
        return self._id("ent", identifier)

    def variant(self, identifier: str) -> str:
        """The id of the variant that a product becomes."""
        return self._id("var", identifier)

    def product_model(self, code: str) -> str:
        """The id of the record or variant that a product model becomes.

        A product may be called as its model is, so it begins otherwise.
        """
        return self._id("model", code)

    def catalog(self, code: str) -> str:
        """The id of the catalog that a category tree becomes."""
        return self._id("cat", code)

    def category(self, code: str) -> str:
        """The id of a category."""
        return self._id("ctg", code)

    def external_key(self, code: str) -> str | None:
        """The code as the source writes it; None for one that is longer than a key may be."""
        key = self.prefix + code
        return key if 0 < len(key) <= _EXTERNAL_KEY_LENGTH_MAX else None

    def relation(self, association_type: str) -> str:
        """What the attribute of an association type's products is called."""
        return f"{association_type}-products"

    def relation_groups(self, association_type: str) -> str:
        """What the attribute of an association type's product groups is called."""
        return f"{association_type}-groups"

    def relation_models(self, association_type: str) -> str:
        """What the attribute of an association type's product models is called."""
        return f"{association_type}-product_models"

    def _id(self, kind: str, code: str) -> str:
        return f"{kind}-{slug(self.prefix + code, _ID_LENGTH_MAX - len(kind) - 1)}"
