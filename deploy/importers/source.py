"""What a kind of source is: how its folders look, and how one of them becomes a plan."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deploy.importers.plan import Plan


def _no_options(_: argparse.ArgumentParser) -> None:
    """A kind that needs no decisions."""


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of catalogue that can be imported."""

    name: str
    """Of its command: `python -m deploy.importers.<name>`."""
    title: str
    recognizes: Callable[[Path], bool]
    """Whether a folder looks like one."""
    plan_of: Callable[[Path, argparse.Namespace], Plan]
    """The plan of a folder under the options of the command; `UnreadableCatalogue`."""
    add_options: Callable[[argparse.ArgumentParser], None] = _no_options


def add_media_option(parser: argparse.ArgumentParser) -> None:
    """Of sources whose files are named by their paths."""
    parser.add_argument(
        "--media-base-url",
        type=web_address,
        metavar="URL",
        help="base URL of the files of image and file attributes; without it they are deferred",
    )


def web_address(text: str) -> str:
    """The text, if it is an http or https address."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"'{text}' is not an http or https address")
    return text
