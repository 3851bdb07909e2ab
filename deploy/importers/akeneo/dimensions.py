"""Maps Akeneo's locales, channels and currencies to dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deploy.importers.akeneo.names import CHANNEL, CURRENCY, LOCALE
from deploy.importers.akeneo.sources import Sources
from deploy.importers.plan import Kind, ModelObject


def dimensions_of(sources: Sources) -> Iterator[ModelObject]:
    """Two or three: a catalogue without prices has no currencies."""
    catalogue, chosen = sources.catalogue, sources.settings
    channels = {c.code: sources.label(c.code, c.labels) for c in catalogue.channels}
    yield _dimension(
        sources, LOCALE, "Locale", {code: code for code in catalogue.locales}, sources.locale
    )
    default = sources.default(CHANNEL, tuple(channels), chosen.default_channel)
    yield _dimension(sources, CHANNEL, "Channel", channels, default)
    if catalogue.currencies:
        default = sources.default(CURRENCY, catalogue.currencies, chosen.default_currency)
        currencies = {code: code for code in catalogue.currencies}
        yield _dimension(sources, CURRENCY, "Currency", currencies, default)


def _dimension(
    sources: Sources, code: str, name: str, segments: Mapping[str, str], default: str
) -> ModelObject:
    names = sources.names
    body = {
        "id": names.dimension(code),
        "alias": names.alias(code),
        "name": name,
        "defaultSegmentId": names.segment(default),
        "segments": [
            {"id": names.segment(segment), "alias": names.alias(segment), "name": label}
            for segment, label in segments.items()
        ],
    }
    return ModelObject(Kind.DIMENSIONS, code, body)
