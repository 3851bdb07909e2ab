"""A dashboard as rows of charts, and as the JSON that Grafana reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from string import ascii_uppercase
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

SOURCE: Final = "datasource"
JOB: Final = "job"
CHARTS_IN_A_ROW: Final = 3
_WIDTH: Final = 24
_HEIGHT: Final = 8
_OF_INTERVALS: Final = frozenset(("auto", "auto_count", "auto_min", "id"))
"""Fields that the library writes for every variable, and that a choice of data sources has not."""

COUNT, PER_SECOND, SECONDS, SHARE, BYTES = "short", "reqps", "s", "percentunit", "bytes"
"""Units, by Grafana's names."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over time: `lines` are PromQL by their legend, in which `{{label}}` is a label."""

    title: str
    unit: str
    lines: Mapping[str, str]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard; `rows` are charts by the title of the row."""

    uid: str
    title: str
    about: str
    rows: Mapping[str, Sequence[Chart]]

    @property
    def expressions(self) -> Sequence[str]:
        """All that it asks Prometheus."""
        return [
            expression
            for charts in self.rows.values()
            for chart in charts
            for expression in chart.lines.values()
        ]


def as_json(board: Board) -> str:
    """The dashboard as Grafana imports it; the same text for the same dashboard."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["sigma-pim"])
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("browser")
        .readonly()
        .with_variable(dashboard.DatasourceVariable(SOURCE).label("Prometheus").type("prometheus"))
    )
    numbers = count(1)
    for title, charts in board.rows.items():
        made.with_row(dashboard.Row(title).id(next(numbers)))
        for chart in charts:
            made.with_panel(_panel(chart).id(next(numbers)))
    drawn = json.loads(JSONEncoder(sort_keys=True, indent=2).encode(made.build()))
    # Nobody reads it any more.
    del drawn["style"]
    for variable in drawn["templating"]["list"]:
        for name in _OF_INTERVALS & variable.keys():
            del variable[name]
    return json.dumps(drawn, indent=2, sort_keys=True) + "\n"


def _panel(chart: Chart) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(chart.title)
        .description(chart.about)
        .unit(chart.unit)
        .min(0)
        .span(_WIDTH // CHARTS_IN_A_ROW)
        .height(_HEIGHT)
        .datasource(DataSourceRef(type_val="prometheus", uid=f"${{{SOURCE}}}"))
        .legend(common.VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for letter, (legend, expression) in zip(ascii_uppercase, chart.lines.items(), strict=False):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter)
        panel.with_target(query)
    return panel
