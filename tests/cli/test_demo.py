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
from farm.client.shared import PATIENCE_SECONDS
from tests.cli.processes import processes_that_name, start_farm
from tests.waiting import PATIENCE, eventually

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
    out, err = process.communicate(timeout=PATIENCE)
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


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_interrupted_at_any_moment_stops_all_it_started(
    tmp_path: Path, temporary_folder: Path, signal_number: signal.Signals
) -> None:
    batch = tmp_path / "batch.txt"
    batch.write_text("a red circle\n" * 20_000)
    process = start_farm("demo", batch, "--null-renderer", cwd=tmp_path)
    assert eventually(lambda: any(temporary_folder.iterdir()))
    time.sleep(random.Random(signal_number).uniform(0, 2))
    process.send_signal(signal_number)
    _, err = process.communicate(timeout=PATIENCE)
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
    process.communicate(timeout=PATIENCE)
    assert eventually(lambda: not processes_that_name(str(temporary_folder)))


def test_a_demo_replaces_the_pictures_of_the_one_before_and_says_nothing_of_them(tmp_path: Path) -> None:
    for count in (3, 2):
        batch = tmp_path / "batch.txt"
        batch.write_text("a red circle\n" * count)
        process = start_farm("demo", batch, "--null-renderer", cwd=tmp_path)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, "")
        assert f"{count} images in out/demo; all on one" in out
        assert len(list((tmp_path / "out" / "demo").glob("0*.png"))) == count


def test_a_demo_tells_a_program_what_it_made_and_people_how_it_went(tmp_path: Path) -> None:
    batch = tmp_path / "batch.txt"
    batch.write_text("a red circle\na blue star\n")
    out, err = start_farm("demo", batch, "--null-renderer", "--json", cwd=tmp_path).communicate(timeout=PATIENCE)
    told = json.loads(out)
    assert (told["folder"], told["image_count"]) == ("out/demo", 2)
    assert f"{told['job']} succeeded: 2 of 2 images" in err


def test_a_demo_whose_folder_is_anothers_starts_nothing(tmp_path: Path, temporary_folder: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.jsonl").write_text('{"name": "jobs/j/images/0"}\n')
    process = start_farm("demo", "--null-renderer", "--out", "mine", cwd=tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert "mine holds the images of jobs/j" in err
    assert list(temporary_folder.iterdir()) == []


def test_a_demo_whose_farm_dies_says_so_at_once_with_the_end_of_the_log(tmp_path: Path, temporary_folder: Path) -> None:
    batch = tmp_path / "batch.txt"
    batch.write_text("a red circle\n" * 20_000)
    process = start_farm("demo", batch, "--null-renderer", cwd=tmp_path)
    assert process.stdout
    assert "A farm runs" in process.stdout.readline()
    line, *_ = processes_that_name(str(temporary_folder))
    began = time.monotonic()
    os.kill(int(line.split()[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < PATIENCE_SECONDS / 2, "it waited for its farm to come back"
    assert process.returncode == 1
    assert "The demo's farm ended unexpectedly (exit code -9)" in err
    assert list(temporary_folder.iterdir()) == []


def test_a_demo_of_a_wrong_batch_says_what_is_wrong_and_starts_nothing(tmp_path: Path, temporary_folder: Path) -> None:
    batch = tmp_path / "batch.csv"
    batch.write_text("prompt,colour\na,b\n")
    process = start_farm("demo", batch, "--null-renderer", cwd=tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert "line 1, column 2" in err
    assert processes_that_name(str(temporary_folder)) == []
