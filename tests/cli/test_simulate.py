import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from farm.cli.simulate import simulate
from tests.cli.conftest import runner

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
    assert "efficiency" in result.output
    assert drawing.read_text().startswith("<svg")


def test_simulate_prints_json_for_programs(tmp_path: Path) -> None:
    workload = tmp_path / "workload.toml"
    workload.write_text(WORKLOAD)
    result = CliRunner().invoke(simulate, [str(EXAMPLES / "desk.toml"), str(workload), "--policy", "gpu", "--json"])
    report = json.loads(result.output)
    assert report["images"] == 40
    assert report["bound"] <= report["makespan"]
    assert [chip["chip"] for chip in report["chips"]] == ["Apple M1", "Apple M2 Pro", "Apple M1 Max"]


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
