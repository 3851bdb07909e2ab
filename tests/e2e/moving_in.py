"""A catalogue to move in, and the command that moves it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit.sigma import Caller
from tests.kit.stack import Stack
from tests.kit.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]

FILES = {
    "attributes.csv": """\
code;label-en_US;group;localizable;scopable;sort_order;type;unique;max_characters;metric_family;\
default_metric_unit;negative_allowed
sku;SKU;main;0;0;1;pim_catalog_identifier;1;;;;
title;Title;main;1;0;2;pim_catalog_text;0;20;;;
gtin;GTIN;main;0;0;3;pim_catalog_text;1;;;;
mass;Mass;main;0;0;4;pim_catalog_metric;0;;Weight;GRAM;0
cost;Cost;main;0;0;5;pim_catalog_price_collection;0;;;;
steel;Steel;main;0;0;6;pim_catalog_simpleselect;0;;;;
uses;Uses;main;0;0;7;pim_catalog_multiselect;0;;;;
photo;Photo;main;0;0;8;pim_catalog_image;0;;;;
forged;Forged on;main;0;1;9;pim_catalog_date;0;;;;
""",
    "attribute_options.csv": """\
code;label-en_US;attribute;sort_order
440C;440C;steel;1
bread;Bread;uses;1
fish;Fish;uses;2
""",
    "attribute_groups.csv": "code;sort_order;label-en_US\nmain;1;Main\n",
    "families.csv": """\
code;label-en_US;attributes;requirements-web;requirements-shop
knives;Knives;sku,title,gtin,mass,cost,steel,uses,photo,forged;sku,title,steel,cost,uses;sku,title
""",
    "channels.csv": """\
code;label-en_US;locales;currencies
web;Web;en_US,fr_FR;EUR,USD
shop;Shop;fr_FR;EUR
""",
    "association_types.csv": "code;label-en_US\nGOES_WITH;Goes with\n",
    "groups.csv": "code;type;label-en_US\nsale;RELATED;Sale\n",
}
HEADER = (
    "sku;family;enabled;groups;categories;title-en_US;title-fr_FR;gtin;mass;mass-unit;cost-EUR;"
    "cost-USD;steel;uses;photo;forged-web;GOES_WITH-products"
)


def write_catalogue(folder: Path, *rows: str) -> Path:
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    write_rows(folder, *rows)
    return folder


def write_rows(folder: Path, *rows: str) -> None:
    (folder / "products.csv").write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")


@dataclass(frozen=True)
class Outcome:
    """How one run of the command ended."""

    code: int
    text: str
    report: dict[str, Any]

    def counts(self, kind: str) -> dict[str, int]:
        return {name: count for name, count in self.report["objects"][kind].items() if count}

    @property
    def all_unchanged(self) -> bool:
        return all(set(self.counts(kind)) <= {"unchanged"} for kind in self.report["objects"])


class Mover:
    """The command, in a workspace, with a key that holds what it needs and no more."""

    def __init__(self, stack: Stack, folder: Path, key: Caller, kind: str = "akeneo") -> None:
        self.stack = stack
        self.folder = folder
        self.key = key
        self.kind = kind

    def start(self, data: Path, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", f"deploy.importers.{self.kind}", "--data", str(data)),
                *("--url", self.stack.url, "--report", str(self.folder / "report.json"), *options),
            ],
            cwd=ROOT,
            env={**os.environ, "SIGMA_API_KEY": self.key.headers["X-Sigma-ApiKey"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    async def run(self, data: Path, *options: str) -> Outcome:
        return await self.end_of(self.start(data, *options))

    async def end_of(self, process: subprocess.Popen[str]) -> Outcome:
        text, _ = await asyncio.to_thread(process.communicate, timeout=300)
        report = self.folder / "report.json"
        assert report.exists(), text
        return Outcome(process.returncode, text, json.loads(report.read_text()))


@dataclass(frozen=True)
class Room:
    workspace: Workspace
    mover: Mover
    data: Path


async def move_in(stack: Stack, folder: Path, rows: Sequence[str], record_limit: int = 500) -> Room:
    workspace = await stack.workspace(record_limit=record_limit)
    key = await workspace.api_key(["read", "update-data", "update-model"])
    data = folder / "catalogue"
    data.mkdir()
    return Room(workspace, Mover(stack, folder, key), write_catalogue(data, *rows))
