"""Makes Grafana's JSON of a board, with Grafana's own library."""

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    VariableRefresh,
)

from dashboards import fleet, job, node, scheduling
from dashboards.board import Board, Panel, Query, Style, Variable

BOARDS = (fleet.BOARD, job.BOARD, node.BOARD, scheduling.BOARD)

EVERYTHING = ".+"
"""What a variable stands for if all of its values are chosen, as a regular expression."""

_SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
_HEIGHT = 9
_NUMBER_HEIGHT = 4
_PER_LINE = 4
_WIDTH = 24
_TAG = "mac-render-farm"


def to_json(board: Board) -> str:
    """The file that Grafana loads."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.meaning)
        .tags([_TAG])
        .refresh("15s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            dashboard.DashboardLink("Farm")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([_TAG])
            .as_dropdown(True)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for variable in board.variables:
        made = made.with_variable(_chosen(variable))
    for title, panels in board.rows:
        made = made.with_row(dashboard.Row(title))
        for panel, width in zip(panels, _widths(len(panels)), strict=True):
            height = _NUMBER_HEIGHT if panel.style is Style.NUMBER else _HEIGHT
            made = made.with_panel(_drawn(panel).height(height).span(width))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _drawn(panel: Panel) -> stat.Panel | timeseries.Panel:
    """A panel; its place is given by the board."""
    queries: list[Builder[Dataquery]] = [_asked(query, number) for number, query in enumerate(panel.queries)]
    if panel.style is Style.NUMBER:
        return (
            stat.Panel()
            .title(panel.title)
            .description(panel.meaning)
            .datasource(_SOURCE)
            .unit(panel.unit.value)
            .targets(queries)
            .graph_mode(BigValueGraphMode.AREA)
        )
    drawn = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.meaning)
        .datasource(_SOURCE)
        .unit(panel.unit.value)
        .min(0)
        .targets(queries)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if panel.style is Style.STACK:
        return drawn.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40)
    return drawn


def _asked(query: Query, number: int) -> prometheus.Dataquery:
    asked = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).range()
    return asked.ref_id(chr(ord("A") + number)).datasource(_SOURCE)


def _chosen(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .query(f"label_values({variable.metric}, {variable.name})")
        .datasource(_SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .all_value(EVERYTHING)
        .multi(True)
    )


def _widths(count: int) -> list[int]:
    """Widths of a row's panels, in lines of up to four that fill the width."""
    lines = -(-count // _PER_LINE)
    sizes = [count // lines + (number < count % lines) for number in range(lines)]
    return [_WIDTH // size for size in sizes for _ in range(size)]
