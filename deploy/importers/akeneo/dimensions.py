"""Maps Akeneo's locales, channels and currencies to dimensions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from deploy.importers.akeneo.sources import Sources
from deploy.importers.names import CHANNEL, CURRENCY, LOCALE
from deploy.importers.plan import Kind, ModelObject

_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,8}")


def dimensions_of(sources: Sources) -> Iterator[ModelObject]:
    """Two or three: a catalogue without prices has no currencies."""
    catalogue, chosen = sources.catalogue, sources.settings
    locales = [{**_segment(sources, code, {}), **_language(code)} for code in catalogue.locales]
    yield _dimension(sources, LOCALE, "Locale", locales, sources.locale)
    channels = [_segment(sources, channel.code, channel.labels) for channel in catalogue.channels]
    codes = tuple(channel.code for channel in catalogue.channels)
    default = sources.default(CHANNEL, codes, chosen.default_channel)
    yield _dimension(sources, CHANNEL, "Channel", channels, default)
    if catalogue.currencies:
        default = sources.default(CURRENCY, catalogue.currencies, chosen.default_currency)
        currencies = [_segment(sources, code, {}) for code in catalogue.currencies]
        yield _dimension(sources, CURRENCY, "Currency", currencies, default)


def _dimension(
    sources: Sources, code: str, name: str, segments: list[dict[str, Any]], default: str
) -> ModelObject:
    names = sources.names
    body = {
        "id": names.dimension(code),
        "alias": names.alias(code),
        "name": name,
        "defaultSegmentId": names.segment(default),
        "segments": segments,
    }
    return ModelObject(Kind.DIMENSIONS, code, body)


def _segment(sources: Sources, code: str, labels: Mapping[str, str]) -> dict[str, Any]:
    names = sources.names
    return {
        "id": names.segment(code),
        "alias": names.alias(code),
        "name": sources.label(code, labels),
        **sources.naming(code, labels),
    }


def _language(locale: str) -> dict[str, str]:
    """`de_DE` as BCP 47 writes it, by which texts are searched in their language."""
    tag = locale.replace("_", "-")
    return {"locale": tag} if _LANGUAGE_TAG.fullmatch(tag) else {}
