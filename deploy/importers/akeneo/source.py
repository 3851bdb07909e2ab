"""Akeneo as a kind of source."""

from __future__ import annotations

import argparse
from pathlib import Path

from deploy.importers.akeneo.catalogue_plan import plan_of
from deploy.importers.akeneo.sources import Settings
from deploy.importers.names import Names
from deploy.importers.plan import Plan
from deploy.importers.source import Source, add_media_option


def _plan_of(folder: Path, asked: argparse.Namespace) -> Plan:
    settings = Settings(
        names=Names(asked.prefix),
        media_base_url=asked.media_base_url,
        default_locale=asked.default_locale,
        default_channel=asked.default_channel,
        default_currency=asked.default_currency,
    )
    return plan_of(folder, settings)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_media_option(parser)
    for name in ("locale", "channel", "currency"):
        parser.add_argument(
            f"--default-{name}",
            metavar="CODE",
            help=f"the default {name} (default: the one with the most product values)",
        )


AKENEO = Source(
    name="akeneo",
    title="an Akeneo catalogue, exported as CSV files,",
    recognizes=lambda folder: (folder / "families.csv").is_file(),
    plan_of=_plan_of,
    add_options=_add_options,
)
