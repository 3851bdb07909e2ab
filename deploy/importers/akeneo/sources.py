"""The inputs of every part of the data model, and the ledger of what could not be mapped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.importers.akeneo.reading import Catalogue
from deploy.importers.akeneo.survey import Survey
from deploy.importers.csv_rows import UnreadableCatalogue
from deploy.importers.names import LOCALE, Names
from deploy.importers.plan import Problem


@dataclass(frozen=True, slots=True)
class Settings:
    """What whoever moves decides; a default that is not named is what the products fill most."""

    names: Names = field(default_factory=Names)
    media_base_url: str | None = None
    default_locale: str | None = None
    default_channel: str | None = None
    default_currency: str | None = None


@dataclass(slots=True)
class Ledger:
    """Where Sigma has no place for something, it is counted, told or refused: never dropped."""

    left: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sources:
    """The catalogue, what its products showed, and what was decided about it."""

    catalogue: Catalogue
    survey: Survey
    settings: Settings
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def names(self) -> Names:
        """How ids are made."""
        return self.settings.names

    @property
    def locale(self) -> str:
        """The default locale, whose labels become names."""
        return self.default(LOCALE, self.catalogue.locales, self.settings.default_locale)

    def default(self, dimension: str, codes: tuple[str, ...], chosen: str | None) -> str:
        """The chosen one, or the one that products fill most; the first of equals."""
        if chosen is None:
            return max(codes, key=lambda code: self.survey.used[dimension][code])
        if chosen not in codes:
            raise UnreadableCatalogue(
                f"no channel has {dimension} '{chosen}'; there are {', '.join(codes)}"
            )
        return chosen

    def naming(self, code: str, labels: Mapping[str, str]) -> dict[str, Any]:
        """The fields for what Akeneo calls it, and for its names in the locales of channels."""
        known = self.catalogue.locales
        texts = {
            self.names.segment(locale): text for locale, text in labels.items() if locale in known
        }
        return {"labels": texts, "externalKey": self.names.external_key(code)}

    def label(self, code: str, labels: Mapping[str, str]) -> str:
        """In the default locale, or else in any: what is shown where no translation is."""
        return labels.get(self.locale) or next(iter(labels.values()), code)
