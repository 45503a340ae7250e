"""The dashboards: every query of every panel is put to a real Prometheus that watches a farm at work."""

import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.board import Board, Panel, Query, Unit
from dashboards.grafana import BOARDS, EVERYTHING, to_json
from farm.metrics import BOTH, COORDINATOR, WORKER
from tests.dashboards.watched_farm import WATTS, Watched, needs_prometheus, watched_farm
from tests.waiting import PATIENCE, eventually

FOLDER = Path(__file__).parents[2] / "dashboards"

PANELS = [(board, panel) for board in BOARDS for panel in board.panels()]

PLAUSIBLE = {
    Unit.COUNT: (0, 1e5),
    Unit.SHARE: (0, 2.5),
    Unit.SECONDS: (0, 30 * 365 * 86400),
    Unit.BYTES: (100, 1e15),
    Unit.WATTS: (0, WATTS * 3),
    Unit.JOULES: (0.1, 1e4),
    Unit.PER_HOUR: (0, 1e6),
}
"""Between which a value in this unit must be, here and on most farms: one in another unit is not."""

UNITS = {
    "seconds": {Unit.SECONDS, Unit.SHARE},
    "bytes": {Unit.BYTES},
    "joules": {Unit.JOULES, Unit.WATTS},
    "watts": {Unit.WATTS},
    "ratio": {Unit.SHARE, Unit.COUNT},
}
"""Units in which a metric may be drawn, by the one in its name: seconds a second are a share, joules a second watts."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FARM_LOCKS", str(folder))
        with watched_farm(folder) as running:
            yield running


@needs_prometheus
def test_every_query_of_every_panel_returns_data_with_its_labels_in_its_unit(watched: Watched) -> None:
    waiting = {(panel.unit, query) for _, panel in PANELS for query in panel.queries}
    until = time.monotonic() + PATIENCE
    while waiting:
        answered = {(unit, query) for unit, query in waiting if holds(watched, unit, query)}
        waiting -= answered
        assert time.monotonic() < until, [(query.expr, watched.ask(asked(query))) for _, query in waiting]
        time.sleep(0.2)


def holds(watched: Watched, unit: Unit, query: Query) -> bool:
    """Whether a query returns data yet; what it returns must be right."""
    series = [(labels, value) for labels, value in watched.ask(asked(query)) if math.isfinite(value)]
    low, high = PLAUSIBLE[unit]
    for labels, value in series:
        assert labels.keys() - {"__name__"} == set(query.labels), f"{query.expr} has the labels {labels}"
        assert low <= value <= high, f"{query.expr} is {value} {unit.value}"
    return bool(series)


def asked(query: Query) -> str:
    """A query as Grafana would put it, with all that can be chosen."""
    return re.sub(r"\$(model|worker)", EVERYTHING, query.expr.replace("$__rate_interval", "20s"))


@needs_prometheus
def test_what_a_viewer_can_choose_is_there(watched: Watched) -> None:
    for board in BOARDS:
        for variable in board.variables:
            assert {labels[variable.name] for labels, _ in watched.ask(variable.metric)}


@needs_prometheus
def test_prometheus_finds_the_worker_by_itself_and_no_alert_fires_on_a_farm_that_is_well(watched: Watched) -> None:
    def up() -> dict[tuple[str, str], float]:
        return {(labels["job"], labels.get("worker", "")): value for labels, value in watched.ask("up")}

    assert eventually(lambda: up() == {("farm-coordinator", ""): 1, ("farm-worker", "local"): 1}), up()
    assert eventually(lambda: all(rule["health"] == "ok" for rule in alerts(watched))), alerts(watched)
    # Not even on its way to fire: most wait for minutes. Images were made to fail; the disk is this machine's.
    stirring = {rule["name"] for rule in alerts(watched) if rule["state"] != "inactive"}
    assert stirring <= {"FarmImagesGivenUp", "FarmImagesFail", "FarmDiskLow"}


def alerts(watched: Watched) -> list[dict[str, Any]]:
    """Every alert as Prometheus has evaluated it."""
    groups = watched.prometheus.get("/api/v1/rules", params={"type": "alert"}).json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_json_that_is_committed_is_what_the_code_writes_and_what_grafanas_library_reads(
    board: Board,
) -> None:
    text = (FOLDER / f"{board.uid}.json").read_text()
    assert text == to_json(board), "run `python -m dashboards`"
    read = Dashboard.from_json(json.loads(text))
    assert (read.uid, read.title) == (board.uid, board.title)
    drawn = [panel for panel in read.panels or () if panel.type_val != "row"]
    assert [panel.title for panel in drawn] == [panel.title for panel in board.panels()]


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda part: getattr(part, "title", ""))
def test_a_panel_is_in_the_unit_of_what_it_draws(board: Board, panel: Panel) -> None:
    known = {family.name for family in (*BOTH, *WORKER, *COORDINATOR)}
    for query in panel.queries:
        names = re.findall(r"\bfarm[_:][\w:]+", query.expr)
        assert names
        for name in names:
            series = {name, re.sub(r"_(bucket|sum|count)$", "", name)}
            assert ":" in name or series & known, f"{board.title}: {name} is not served"
        unit = set(re.split("[_:]", names[0])) & UNITS.keys()
        assert not unit or panel.unit in UNITS[unit.pop()], f"{board.title}: {query.expr} is drawn in {panel.unit}"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_legend_names_only_labels_that_a_query_returns(board: Board) -> None:
    for panel in board.panels():
        for query in panel.queries:
            assert set(re.findall(r"{{(\w+)}}", query.legend)) <= set(query.labels)
