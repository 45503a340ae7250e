"""The whole way on this machine: host, child, portable runtime, bundled model."""

import os
import signal
from pathlib import Path

import pytest

from farm.catalogue.catalogue import BUNDLED, Catalogue
from farm.diffusion.png import read_provenance
from farm.domain import Assignment, AttemptKey, AttemptState, AttentionVariant, ComputeUnit, ImageSpec, resolve
from farm.runtime.portable import PortableRuntime
from farm.worker.device_lock import DeviceLock
from farm.worker.pipeline_host import PipelineHost
from tests.worker.builders import Reports


def test_a_batch_survives_the_death_of_its_process_and_comes_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_LOCKS", str(tmp_path))
    shapes = Catalogue([BUNDLED], tmp_path / "digests.json").get("shapes")
    (variant,) = [variant for variant in shapes.variants if variant.attention is AttentionVariant.ORIGINAL]
    job = ImageSpec(seed=7, steps=4).over(shapes.defaults)
    entries = [ImageSpec(prompt=prompt) for prompt in ("a red circle", "a blue square")]
    images = tuple((index, resolve(entry, job, index)) for index, entry in enumerate(entries))

    def attempt(number: int) -> Assignment:
        return Assignment(AttemptKey("job", number), shapes.name, variant.digest, ComputeUnit.CPU_ONLY, images)

    host = PipelineHost([shapes], PortableRuntime(threads=1))
    reports = Reports()
    host.start(reports)
    try:
        host.render(attempt(1))
        assert reports.end_of(1).state is AttemptState.SUCCEEDED
        host.render(attempt(2))
        while reports.step_of(2).index != 1:
            pass
        holder = DeviceLock("cpu", tmp_path).holder()
        assert holder is not None
        os.kill(holder.pid, signal.SIGKILL)
        end = reports.end_of(2)
        assert (end.state, end.index) == (AttemptState.ABANDONED, 1)
        host.render(attempt(3))
        assert reports.end_of(3).state is AttemptState.SUCCEEDED
    finally:
        host.stop()
    first, last = reports.images_of(1), reports.images_of(3)
    assert [image.png for image in first] == [image.png for image in last]
    assert first[0].png != first[1].png
    record = read_provenance(first[0].png)
    assert record.spec == images[0][1]
    assert record.provenance.model_digest == variant.digest
    assert "onnxruntime" in record.provenance.versions
