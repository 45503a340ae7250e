"""`farm demo`: all of it, and what is left of it when it is interrupted."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from farm.batch import read_batch
from farm.cli.demo import SAMPLE_BATCH
from tests.cli.processes import SECONDS, eventually, processes_that_name, start_farm

INTERRUPTED = 130


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo keeps its state: a folder of this test's own, so that what is left can be seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_the_demo_renders_the_sample_batch_and_leaves_the_images_and_nothing_else(
    tmp_path: Path, temporary_folder: Path
) -> None:
    process = start_farm("demo", "--null-renderer", cwd=tmp_path)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, "")
    prompts = [row.spec.prompt for row in read_batch(SAMPLE_BATCH)]
    assert len(prompts) >= 24
    folder = tmp_path / "out" / "demo"
    manifest = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert [entry["prompt"] for entry in manifest] == prompts
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*(entry["file"] for entry in manifest), "manifest.jsonl", "contact-sheet.png"]
    )
    assert "images/min" in out
    assert str(Path("out/demo/contact-sheet.png")) in out
    assert processes_that_name(str(temporary_folder)) == []
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seed", range(2))
def test_a_demo_that_is_interrupted_at_any_moment_stops_all_it_started(
    tmp_path: Path, temporary_folder: Path, signal_number: signal.Signals, seed: int
) -> None:
    batch = tmp_path / "batch.txt"
    batch.write_text("a red circle\n" * 20_000)
    process = start_farm("demo", batch, "--null-renderer", cwd=tmp_path)
    assert eventually(lambda: any(temporary_folder.iterdir()))
    time.sleep(random.Random(seed).uniform(0, 2))
    process.send_signal(signal_number)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in err
    assert processes_that_name(str(temporary_folder)) == []
    assert list(temporary_folder.iterdir()) == []


def test_a_demo_that_is_killed_takes_its_farm_with_it(tmp_path: Path, temporary_folder: Path) -> None:
    batch = tmp_path / "batch.txt"
    batch.write_text("a red circle\n" * 20_000)
    process = start_farm("demo", batch, "--null-renderer", cwd=tmp_path)
    assert process.stdout
    assert "A farm runs" in process.stdout.readline()
    assert processes_that_name(str(temporary_folder)) != []
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=SECONDS)
    assert eventually(lambda: not processes_that_name(str(temporary_folder)))


def test_a_demo_of_a_wrong_batch_says_what_is_wrong_and_stops_its_farm(tmp_path: Path, temporary_folder: Path) -> None:
    batch = tmp_path / "batch.csv"
    batch.write_text("prompt,colour\na,b\n")
    process = start_farm("demo", batch, "--null-renderer", cwd=tmp_path)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "line 1, column 2" in err
    assert processes_that_name(str(temporary_folder)) == []
