"""`farm submit`: dry runs, templates, grids and input that is wrong, against a real farm."""

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from farm.contact_sheet import CELL_WIDTH
from farm.diffusion.png import read_provenance
from farm.output_folder import clear_output_folder
from tests.cli.conftest import Run
from tests.disks import small_disk
from tests.running_farm import running_farm


def job_count(run: Run) -> int:
    return len(json.loads(run("jobs", "--json", "--limit", 1000)[1]))


def entries(run: Run, tmp_path: Path, *arguments: object) -> list[dict[str, Any]]:
    """Submits, waits, pulls, and gives the images' specs."""
    clear_output_folder(tmp_path / "out")
    run("submit", "--pull", tmp_path / "out", *arguments)
    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    return [json.loads(line)["spec"] for line in lines]


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes, *, is_terminal: bool = False) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(content))
    monkeypatch.setattr(stdin, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(sys, "stdin", stdin)


# Dry runs


def test_a_dry_run_tells_what_a_batch_would_take_and_submits_nothing(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = tmp_path / "batch.txt"
    batch.write_text("a red circle\n" * 40)
    with running_farm(tmp_path / "state", seconds_per_image=0.1) as slow:
        monkeypatch.setenv("FARM_ADDRESS", slow.address)
        code, out, err = run("submit", batch, "--dry-run")
        assert (code, err) == (0, "")
        assert "40 with shapes, 64x64" in out
        assert "time    unknown yet" in out
        assert "disk    at most 491.5 kB" in out
        name = json.loads(run("submit", "-p", "a", "-p", "b", "--wait", "--json")[1])["name"]
        out = run("submit", batch, "--dry-run")[1]
        assert "time    about 0:0" in out
        assert f"by the images of {name}" in out
        told = json.loads(run("submit", batch, "--dry-run", "--json", "--steps", 7)[1])
        assert 0.5 < told["estimated_seconds"]["likely"] < 200
        assert told["estimated_bytes"] < 40 * 64 * 64 * 3
        assert (told["image_count"], told["spec"]["defaults"]["steps"], told["refused"]) == (40, 7, [])
        assert job_count(run) == 1


def test_a_dry_run_names_every_wrong_row_whoever_sees_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.cli.preview.MAX_REFUSALS", 60)
    before = job_count(run)
    batch = tmp_path / "batch.csv"
    wrong = "x,many\n\xff,0\nx,99999999999\n".encode("latin-1")
    batch.write_bytes(b"prompt,steps\nfine,1\n" + wrong + b"fine,2\n" + b"x,0\n" * 100 + b"fine,3\n")
    code, out, _ = run("submit", batch, "--dry-run", "--json")
    refused = json.loads(out)["refused"]
    assert code == 1
    assert [place["line"] for place in refused] == [3, 4, 5, *range(7, 64)]
    assert {place["column"] for place in refused} == {"steps", "1"}
    assert {place["problem"] for place in refused[3:]} == {"is 0; it must be from 1 to 999"}
    text = run("submit", batch, "--dry-run")[1]
    assert text.startswith(f"At least 60 mistakes in {batch}")
    assert '  line 3, column steps: "many" is not a whole number\n' in text
    assert job_count(run) == before


def test_a_dry_run_of_what_is_wrong_as_a_whole_says_so(run: Run, tmp_path: Path) -> None:
    for arguments, says in (
        (["-p", "a", "--steps", 0], "--steps is 0"),
        (["-p", "a", "--model", "nothing"], "nothing"),
        ([tmp_path / "no.txt"], "cannot be read: No such file"),
    ):
        code, out, err = run("submit", "--dry-run", *arguments)
        assert (code, out) == (1, "")
        assert says in err


# Templates and grids


def test_a_template_is_expanded_and_its_count_shown(run: Run, tmp_path: Path) -> None:
    code, _, err = run("submit", "-t", "-p", "a {red|blue} {circle|star|square}", "--json")
    assert (code, err) == (0, "6 images.\n")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "shape.txt").write_text("circle\nstar\n")
    batch = tmp_path / "batch.csv"
    batch.write_text("prompt,steps\na {red|blue} __shape__,3\n")
    made = entries(run, tmp_path, batch, "--templates", "--wildcards", tmp_path / "words", "--random", 3, "--seed", 1)
    assert len(made) == 3
    assert {spec["steps"] for spec in made} == {3}
    again = entries(run, tmp_path, batch, "--templates", "--wildcards", tmp_path / "words", "--random", 3, "--seed", 1)
    assert again == made


def test_a_grid_renders_each_prompt_with_each_combination_from_the_same_noise(run: Run, tmp_path: Path) -> None:
    grid = ["--vary", "guidance_scale=1,3.5", "--vary", "sampler=euler,ddim"]
    made = entries(run, tmp_path, "-p", "a", "-p", "b", *grid, "--seed", 5)
    assert [(spec["prompt"], spec["guidance_scale"], spec["sampler"], spec["seed"]) for spec in made] == [
        (prompt, guidance, sampler, seed)
        for prompt, seed in (("a", 5), ("b", 6))
        for guidance in (1, 3.5)
        for sampler in ("euler", "ddim")
    ]


def test_a_grid_of_two_settings_is_a_table_on_the_contact_sheet(run: Run, tmp_path: Path) -> None:
    def paper_at_the_left(*arguments: object) -> float:
        """The part of the contact sheet's first column on which nothing is, no picture and no writing."""
        entries(run, tmp_path, *arguments)
        with Image.open(tmp_path / "out" / "contact-sheet.png") as sheet:
            column = sheet.crop((0, 0, CELL_WIDTH, sheet.height))
        return max(count for count, _ in column.getcolors(maxcolors=column.width * column.height) or []) / (
            column.width * column.height
        )

    assert paper_at_the_left("-t", "-p", "a {red|blue} circle", "--vary", "steps=1,2,3") > 0.9, "heads of rows"
    assert paper_at_the_left(*(part for number in range(6) for part in ("-p", f"circle {number}"))) < 0.5, "pictures"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--vary", "colour=red"],
        ["--vary", "steps=1", "--vary", "steps=2"],
        ["--vary", "steps=1,2", "--request-id", "x"],
        ["--random", 3],
        ["--wildcards", "."],
        ["--label", "room"],
        ["--worker-label", "=attic"],
    ],
)
def test_options_that_contradict_each_other_are_refused(run: Run, arguments: list[object]) -> None:
    code, _, err = run("submit", "-p", "a", *arguments)
    assert code == 2
    assert "Usage: farm submit" in err


@pytest.mark.parametrize(
    ("pin", "says"),
    [
        (["--worker-label", "room=attic"], "room=attic"),
        (["--runtime", "coreml"], "coreml"),
        (["--model-digest", "sha256:0"], "--model-digest is no variant of shapes; known are sha256:"),
    ],
)
def test_a_job_that_is_pinned_to_what_no_worker_has_is_refused_with_what_is_missing(
    run: Run, pin: list[object], says: str
) -> None:
    code, _, err = run("submit", "-p", "a", *pin)
    assert (code, says in err, "Nothing was submitted" in err) == (1, True, True), err


@pytest.mark.parametrize(
    ("is_terminal", "answer", "options", "submitted"),
    [(True, b"n\n", [], False), (True, b"y\n", [], True), (True, b"", ["--yes"], True), (False, b"", [], True)],
)
def test_somebody_at_a_terminal_is_asked_before_many_images_are_made_of_few(
    run: Run, monkeypatch: pytest.MonkeyPatch, is_terminal: bool, answer: bytes, options: list[str], submitted: bool
) -> None:
    before = job_count(run)
    standard_input(monkeypatch, answer, is_terminal=is_terminal)
    seeds = ",".join(map(str, range(300)))
    code, _, err = run("submit", "-p", "a", "--vary", f"seed={seeds}", *options)
    assert code == (0 if submitted else 1)
    assert "300 images, each prompt with 300 values of seed." in err
    assert job_count(run) == before + submitted


# Wrong input


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("b.txt", "a star".encode("utf-16"), "line 1, column 1: this is UTF-16"),
        ("b.txt", "a\ncaf\xe9".encode("latin-1"), "line 2, column 4: the byte 0xE9 is not UTF-8"),
        ("b.txt", b"a\nb\0\n", "line 2, column 2: there is a zero byte"),
        ("b.txt", b"\x89PNG\r\n\x1a\n\0\0", "line 1, column 1"),
        ("b.txt", b"", "holds no prompts"),
        ("b.csv", b"", "holds no prompts"),
        ("b.csv", b"prompt,steps\na,-1\n", "line 2, column steps: is -1"),
        ("b.csv", b"\xef\xbb\xbfprompt,width\n\na,-64\n", "line 3, column width: is -64"),
        ("b.csv", b'prompt,seed\n"a\nred",1\nb,-5\n', "line 4, column seed: is -5"),
        ("b.csv", b"prompt,steps\na,99999999999\n", "line 2, column steps: is 99999999999, which cannot be sent"),
        ("b.csv", b"prompt,color\na,b\n", 'line 1, column 2: the column "color" is not one of'),
        ("b.csv", b"prompt,steps,steps\na,1,2\n", 'line 1, column 3: the column "steps" occurs twice'),
        ("b.jsonl", b'{"prompt": "a", "guidance_scale": NaN}', "line 1, column guidance_scale: NaN is not a number"),
        ("b.jsonl", b'{"prompt": "a"}\n{"prompt": "a", "sampler": "x"}', 'line 2, column sampler: is "x"'),
        ("b.jsonl", b'{"prompt": "a"}\n{"steps": 3}', "line 2, column prompt: is missing"),
    ],
)
def test_input_that_is_wrong_is_named_by_line_and_column_and_nothing_is_submitted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, says: str
) -> None:
    before = job_count(run)
    batch = tmp_path / name
    batch.write_bytes(content)
    for options in ([], ["--dry-run"]):
        code, out, err = run("submit", batch, *options)
        assert code == 1
        assert says in err + out
    standard_input(monkeypatch, content)
    code, out, err = run("submit", "-", "--format", batch.suffix.removeprefix("."))
    assert (code, out) == (1, "")
    assert "standard input" in err
    assert says in err
    assert job_count(run) == before


def test_standard_input_that_never_ends_is_refused_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.cli.entries.MAX_STDIN_BYTES", 4 << 20)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = job_count(run)
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        assert endless.stdout is not None
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(endless.stdout))
        code, out, err = run("submit", "-")
        endless.kill()
    assert (code, out) == (1, "")
    assert "more than 4,194,304 bytes; perhaps it never ends. Nothing was submitted." in err
    assert list(tmp_path.iterdir()) == []
    assert job_count(run) == before


def test_standard_input_for_which_there_is_no_room_is_refused_with_a_way_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_input(monkeypatch, b"a red circle\n" * 200_000)
    with small_disk(tmp_path / "disk", 1) as disk:
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        code, out, err = run("submit", "-")
        assert list(disk.iterdir()) == []
    assert (code, out) == (1, "")
    assert "No space left on device). Nothing was submitted. Make room there" in err


# Pictures to start from


def test_images_start_from_a_picture_and_say_so(tmp_path: Path, run: Run) -> None:
    picture = tmp_path / "sketch.png"
    Image.new("RGB", (80, 40), "red").save(picture)

    specs = entries(run, tmp_path, "-p", "a star", "-p", "a ring", "--init-image", picture, "--strength", 0.5)
    assert [spec["strength"] for spec in specs] == [0.5, 0.5]
    record = read_provenance((tmp_path / "out" / "000000.png").read_bytes())
    assert record.init_image_sha256 == hashlib.sha256(picture.read_bytes()).hexdigest()
    assert "Denoising strength: 0.5" in Image.open(tmp_path / "out" / "000000.png").info["parameters"]


def test_a_file_that_is_no_picture_is_refused_before_anything_is_sent(tmp_path: Path, run: Run) -> None:
    (tmp_path / "sketch.gif").write_bytes(b"GIF89a")
    before = job_count(run)

    code, _, err = run("submit", "-p", "a star", "--init-image", tmp_path / "sketch.gif")

    assert (code, job_count(run)) == (1, before)
    assert "is not a PNG or JPEG file" in err
