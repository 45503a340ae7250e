import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from farm.cli.simulate import simulate
from tests.cli.conftest import Run, runner

EXAMPLES = Path(__file__).parents[2] / "examples" / "fleets"

WORKLOAD = """
[[job]]
model = "sd-1.5"
images = 40
"""


def test_simulate_prints_figures_and_draws(tmp_path: Path) -> None:
    workload = tmp_path / "workload.toml"
    workload.write_text(WORKLOAD)
    drawing = tmp_path / "out" / "run.svg"
    arguments = [str(EXAMPLES / "desk.toml"), str(workload), "--faults", str(EXAMPLES / "faults.toml")]
    result = CliRunner().invoke(simulate, [*arguments, "--plot", str(drawing)])
    assert result.exit_code == 0, result.output
    for word in (
        "efficiency",
        "least possible",
        "CLASS",
        "ANE",
        "GPU",
        "UTILISATION",
        "LOADING",
        "CHIP",
        "WAIT (MEDIAN)",
    ):
        assert word in result.output
    assert drawing.read_text().startswith("<svg")


def test_simulate_prints_json_for_programs(tmp_path: Path) -> None:
    workload = tmp_path / "workload.toml"
    workload.write_text(WORKLOAD)
    result = CliRunner().invoke(simulate, [str(EXAMPLES / "desk.toml"), str(workload), "--policy", "gpu", "--json"])
    report = json.loads(result.output)
    assert report["images"] == 40
    assert report["bound"] <= report["makespan"]
    assert [chip["chip"] for chip in report["chips"]] == ["Apple M1", "Apple M2 Pro", "Apple M1 Max"]
    assert [(one["chip_class"], one["macs"]) for one in report["classes"]] == [("ANE", 2), ("GPU", 1)]
    assert all(0.0 < one["utilisation"] <= 1.0 for one in report["classes"])


def test_files_that_cannot_be_used_are_told_before_anything_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runner(capsys)
    binary = tmp_path / "fleet.toml"
    binary.write_bytes(b"\x89PNG")
    fleet, workload = EXAMPLES / "desk.toml", EXAMPLES / "batch.toml"
    code, _, err = run("simulate", binary, workload)
    assert (code, f"{binary} cannot be read" in err, "That is a bug" in err) == (1, True, False), err
    code, _, err = run("simulate", fleet, workload, "--plot", binary / "run.svg")
    assert (code, "run.svg cannot be written" in err, "That is a bug" in err) == (1, True, False), err


def test_on_a_terminal_there_is_a_bar_and_the_figures_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = tmp_path / "workload.toml"
    workload.write_text(WORKLOAD)
    command = [str(EXAMPLES / "desk.toml"), str(workload), "--faults", str(EXAMPLES / "faults.toml"), "--json"]
    piped = CliRunner().invoke(simulate, command)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes what it writes to for a terminal
    shown = CliRunner().invoke(simulate, command)
    assert (piped.stderr, "Simulating" in shown.stderr, shown.exit_code) == ("", True, 0)
    assert json.loads(shown.stdout) == json.loads(piped.stdout)


ONE_MAC = """
[[mac]]
chip = "Apple M1"
gpu_cores = 8
memory_gb = 8
"""

AWAY_FOR_GOOD = """
[[fault]]
kind = "away"
at = 100.0
"""


def simulated(
    folder: Path, run: Run, fleet: str = ONE_MAC, workload: str = WORKLOAD, faults: str = ""
) -> tuple[int, str, str]:
    """Runs the command on files with these contents."""
    files = {"fleet.toml": fleet, "workload.toml": workload, "faults.toml": faults}
    for name, text in files.items():
        (folder / name).write_text(text)
    paths = [folder / name for name in files]
    return run("simulate", *paths[:2], "--faults", paths[2], "--json")


@pytest.mark.parametrize(
    ("part", "text", "told"),
    [
        ("fleet", "mac = []", "length >= 1 - at `$.mac`"),
        ("fleet", ONE_MAC + "count = 0", ">= 1 - at `$.mac[0].count`"),
        ("fleet", ONE_MAC + "join_at = inf", "at `$.mac[0].join_at`"),
        ("fleet", ONE_MAC + 'models = ["sd-9"]', "Nothing is known of sd-9 on Apple M1"),
        ("fleet", ONE_MAC + "core_count = 8", "mac[0].core_count"),
        ("fleet", "resident_models = 0" + ONE_MAC, ">= 1 - at `$.resident_models`"),
        ("fleet", "is_compiled = false" + ONE_MAC, "needs `is_calibrated = false`"),
        ("workload", "job = []", "length >= 1 - at `$.job`"),
        ("workload", '[[job]]\nmodel = "sd-9"\nimages = 1', 'job[0].model is "sd-9"'),
        ("workload", WORKLOAD.replace("40", "0"), ">= 1 - at `$.job[0].images`"),
        ("workload", WORKLOAD + "steps = 0", ">= 1 - at `$.job[0].steps`"),
        ("workload", WORKLOAD + "at = nan", "at `$.job[0].at`"),
        ("workload", WORKLOAD + "every = -1.0", ">= 0.0 - at `$.job[0].every`"),
        ("faults", '[[fault]]\nkind = "crash"\nmacs = [1]', "numbered from 0 to 0"),
        ("faults", '[[fault]]\nkind = "crash"\nmacs = [-1]', "numbered from 0 to 0"),
        ("faults", '[[fault]]\nkind = "slow"\nfactor = 0.0', "> 0.0 - at `$.fault[0].factor`"),
        ("faults", '[[fault]]\nkind = "crash"\nevery = 1e-9', "fault[0] is repeated more than 1,000,000 times"),
        ("faults", '[[fault]]\nkind = "melts"', "melts"),
        ("faults", '[[fault]]\nkind = "slow"', "fault[0] slows nothing down; let `factor` say"),
        ("fleet", ONE_MAC + "count = 1000000", "<= 100000 - at `$.mac[0].count`"),
        ("fleet", WORKLOAD, "it looks like a workload"),
        ("workload", ONE_MAC, "it looks like a fleet"),
        ("faults", WORKLOAD, "a file of faults has not: job; it looks like a workload"),
        ("faults", "image_failure = 2.0", "<= 1.0 - at `$.image_failure`"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_with_what_is_wrong_and_where(
    part: str, text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = simulated(tmp_path, runner(capsys), **{part: text})
    words = " ".join(err.split())
    assert (code, out, told in words, "That is a bug" in words) == (1, "", True, False), err


@pytest.mark.parametrize("name", ["-", "run.png", "fleet.toml"])
def test_a_drawing_only_goes_into_files_that_are_named_like_one(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fleet.toml").write_text(ONE_MAC)
    Path("workload.toml").write_text(WORKLOAD)
    code, _, err = runner(capsys)("simulate", "fleet.toml", "workload.toml", "--plot", name)
    assert (code, f"let {name} end in .svg" in err) == (2, True), err
    assert (Path("fleet.toml").read_text(), sorted(path.name for path in tmp_path.iterdir())) == (
        ONE_MAC,
        ["fleet.toml", "workload.toml"],
    )


def test_a_drawing_is_kept_until_there_is_another_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawing, wrong = tmp_path / "run.svg", tmp_path / "fleet.toml"
    drawing.write_text("yesterday's")
    wrong.write_text(ONE_MAC.replace("M1", "M0"))
    code, _, err = runner(capsys)("simulate", wrong, EXAMPLES / "batch.toml", "--plot", drawing)
    assert (code, drawing.read_text()) == (1, "yesterday's"), err


@pytest.mark.parametrize(
    ("workload", "faults", "told"),
    [
        (WORKLOAD.replace("sd-1.5", "sdxl") + "count = 2", "", "No Mac fits 2 jobs; the least"),
        (WORKLOAD + 'worker_labels = {room = "attic"}', "", "No Mac fits 1 job; the least"),
        (WORKLOAD, AWAY_FOR_GOOD, "Not done: 1 job. The Macs that fit left for good"),
    ],
)
def test_jobs_that_were_not_done_are_told_with_the_reason(
    workload: str, faults: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"fleet.toml": ONE_MAC, "workload.toml": workload, "faults.toml": faults}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = [tmp_path / name for name in files]
    code, out, err = runner(capsys)("simulate", *paths[:2], "--faults", paths[2])
    assert (code, told in out) == (0, True), out + err


def test_macs_that_lack_a_model_are_listed_once_however_many_jobs_want_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = "".join(f'[[job]]\nmodel = "sdxl"\nimages = 3\nsteps = {steps}\n' for steps in (20, 25))
    _, out, err = simulated(tmp_path, runner(capsys), workload=jobs)
    assert len(figures(out)["left_out"]) == 1, err


def figures(text: str) -> Any:
    """What was printed, if it is the JSON that every program reads."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_job_that_fits_no_mac_is_left_out_of_the_bound_and_the_macs_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = simulated(tmp_path, runner(capsys), workload=WORKLOAD + '[[job]]\nmodel = "sdxl"\nimages = 3')
    report = figures(out)
    assert (code, report["images"], report["jobs"]) == (0, 40, [1, 2]), err
    assert 0 < report["bound"] <= report["makespan"]
    assert [left["model"] for left in report["left_out"]] == ["sdxl"]


@pytest.mark.parametrize(("at", "images"), [("100.0", range(1, 40)), ("0.0", range(1))])
def test_macs_that_are_away_for_good_end_the_run_and_no_bound_is_made_up(
    at: str, images: range, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = simulated(tmp_path, runner(capsys), faults=AWAY_FOR_GOOD.replace("100.0", at))
    report = figures(out)
    assert (code, report["bound"], report["efficiency"], report["jobs"]) == (0, None, 0.0, [0, 1]), err
    assert report["images"] in images
    assert report["submitters"][0]["median_turnaround"] is None


def test_any_text_names_a_submitter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workload = WORKLOAD + 'submitter = "{x} {n} {"'
    _, out, err = simulated(tmp_path, runner(capsys), workload=workload)
    assert [submitter["submitter"] for submitter in figures(out)["submitters"]] == ["{x} 0 {"], err
