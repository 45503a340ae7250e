import json
from pathlib import Path

from click.testing import CliRunner

from farm.cli.simulate import simulate

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
