"""Made-up tables with every kind of dirt, small enough to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LAMPS: list[Any] = [
    {"name": "Dawn 1", "price": 20, "colour": "Deep Red", "watt": 5, "beam": [10, 30]},
    {"name": "Dawn 2", "price": None, "colour": "Deep Red", "watt": 6, "beam": 25},
    {"name": "Dawn 3", "price": 22.5, "colour": "deep  red", "watt": 5, "beam": [12, 30]},
    {"name": "Dawn 4", "price": "n/a", "colour": "Grey", "watt": 7, "beam": None},
    {"name": "Dawn\u200b 5 ", "price": 21, "colour": "Gray", "watt": 5, "beam": [40, 10]},
    {"name": "Dusk 1", "price": 0, "colour": "Gray", "watt": "8 W", "beam": 30},
    {"name": "Dusk 1", "price": 24, "colour": "Gray", "watt": "8 W", "beam": 30},
    {"name": "Dusk 2", "price": 25, "colour": "Gray", "watt": 6, "beam": [10, 30]},
    {"name": "Dusk 2", "price": 25, "colour": "Gray", "watt": 6, "beam": [10, 30]},
    {"name": "Dusk 3", "price": 23, "colour": "Deep Red", "watt": 5, "beam": 20},
    {"name": "DUSK-3", "price": 23, "colour": "Deep Red", "watt": 5, "beam": 21},
    {"name": "MÃ¼nster", "price": 23, "colour": "Deep Red", "watt": 5, "beam": 22},
    {"name": None, "price": 19, "colour": "Gray", "watt": 5, "beam": 20},
    "no row",
    *(
        {"name": f"Noon {n}", "price": 20 + n, "colour": "Gray", "watt": 5, "beam": [10, 30 + n]}
        for n in range(30)
    ),
    {"name": "Noon 99", "price": 20_000, "colour": "Gray", "watt": 5, "beam": [10, 30]},
]
# As Excel writes it in many countries: semicolons, a comma before the decimals, not UTF-8.
CHAIRS = "\r\n".join(
    [
        "name;price;colour;legs;folds",
        *(f"Oak {n};49,9{n};Gray;{4 if n else '4 legs'};true" for n in range(10)),
        "Elm;;DEEP RED;4;yes",
        "Ash;30 EUR;Grün;4;false",
        "Yew;31;Gray;4;true;5;surplus",
        "Fir;33;Gray",
        '"Box;34;Gray;4;false',
        "Sorb;35;Gray;4;false",
        "",
    ]
)


def write_tables(folder: Path) -> Path:
    (folder / "lamp.json").write_text(json.dumps(LAMPS))
    (folder / "chair.csv").write_bytes(CHAIRS.encode("cp1252"))
    return folder
