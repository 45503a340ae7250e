"""A short version of `python -m benchmarks.chaos`."""

from pathlib import Path

import pytest

from tests.ray.chaos import run

QUICK = (
    "worker_killed",
    "bridge_killed",
    "pipeline_killed",
    "pipeline_hung",
    "driver_killed",
    "worker_drained_at_once",
)


@pytest.mark.timeout(300)
def test_a_batch_under_random_faults_has_every_image_once_and_whole(tmp_path: Path) -> None:
    batch, faults, _ = run(tmp_path, images=400, seed=4, every_seconds=0.5, faults=QUICK, limit=4)
    assert faults.total() > 0
    assert batch.findings() == []
