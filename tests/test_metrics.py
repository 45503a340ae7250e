"""The table of metrics, the page that is written from it, and what a process serves of it."""

from pathlib import Path

import pytest

from farm import metrics
from farm.metrics import BOTH, COORDINATOR, WORKER, Family, Kind, Meters
from tests.expositions import Exposition

ALL = (*BOTH, *WORKER, *COORDINATOR)
NAMED = {name: value for name, value in vars(metrics).items() if isinstance(value, Family)}


def test_the_page_in_docs_is_the_one_that_the_code_writes() -> None:
    page = Path(__file__).parents[1] / "docs" / "metrics.md"
    assert page.read_text() == metrics.page(), "run `python -m farm.metrics > docs/metrics.md`"


def test_every_metric_that_is_defined_is_served_by_somebody_and_has_a_name_of_its_own() -> None:
    assert set(NAMED.values()) == set(ALL)
    assert len({family.name for family in ALL}) == len(ALL)


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.name)
def test_names_follow_the_conventions_of_prometheus(family: Family) -> None:
    assert family.name.startswith("farm_")
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    assert not {"milliseconds", "megabytes", "hours", "percent"} & set(family.name.split("_"))
    assert list(family.buckets) == sorted(set(family.buckets))
    assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.name)
def test_no_label_takes_a_value_for_each_job_or_image(family: Family) -> None:
    bounded = {
        *metrics.RENDERING, "stage", "state", "reason", "outcome", "worker", "chip", "runtime", "os", "version",
    }  # fmt: skip
    assert set(family.labels) <= bounded


def test_what_not_every_machine_can_tell_is_missing_until_it_is_told() -> None:
    meters = Meters(WORKER)
    assert "farm_worker_thermal_level" not in served(meters).names()
    meters.set(metrics.WORKER_THERMAL, 2)
    assert served(meters).value("farm_worker_thermal_level") == 2


def test_series_of_a_gauge_that_are_forgotten_are_served_no_more() -> None:
    meters = Meters(COORDINATOR)
    meters.set(metrics.QUEUE, 5, "shapes")
    meters.forget(metrics.QUEUE)
    meters.set(metrics.QUEUE, 7, "sd15")
    assert (served(meters).value("farm_queue_images"), "shapes" in served(meters).labels()) == (7, False)


def test_a_process_tells_only_what_is_its_own_to_tell() -> None:
    with pytest.raises(AssertionError, match="farm_queue_images is not told by this process"):
        Meters(WORKER).set(metrics.QUEUE, 1, "shapes")


def test_reasons_that_nobody_has_defined_are_one_label() -> None:
    known = ("IMAGE_FAILED", "JOB_FAILED", "RENDERER_CRASHED", "RESULT_DEFECTIVE")
    assert [metrics.bounded(reason) for reason in (*known, "job-4711 is odd")] == [*known, "OTHER"]


def test_a_process_tells_its_memory_its_disk_and_its_clock(tmp_path: Path) -> None:
    meters = Meters(BOTH)
    metrics.measure_process(meters, tmp_path)
    told = served(meters)
    assert told.value("farm_memory_used_bytes") > 10e6
    assert told.value("farm_memory_available_bytes") > 0
    assert told.value("farm_disk_free_bytes") > 0
    assert told.value("farm_clock_timestamp_seconds") > 1.7e9


def served(meters: Meters) -> Exposition:
    return Exposition(meters.exposition()[0].decode())
