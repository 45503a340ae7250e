"""deploy/prometheus/, held to Prometheus' own tool."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from farm.metrics import BOTH, COORDINATOR, WORKER, Kind

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed; Debian's package is prometheus"
)


def promtool(*arguments: str) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_the_configuration_and_the_rules_are_what_prometheus_reads() -> None:
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", "prometheus.yml")
    promtool("check", "rules", "rules.yml", "alerts.yml")


@needs_promtool
def test_the_rules_pass_their_unit_tests() -> None:
    assert "SUCCESS" in promtool("test", "rules", "tests.yml")


def test_every_alert_has_a_unit_test_that_fires_it() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text()))
    fired = set(
        re.findall(r"alertname: (\w+)\n\s+eval_time: \S+\n\s+exp_alerts:\n", (FOLDER / "tests.yml").read_text())
    )
    assert len(alerts) > 10
    assert alerts == fired


def test_rules_and_alerts_ask_for_metrics_that_the_farm_serves() -> None:
    series = set()
    for family in (*BOTH, *WORKER, *COORDINATOR):
        endings = ("_bucket", "_sum", "_count") if family.kind is Kind.HISTOGRAM else ("",)
        series |= {family.name + ending for ending in endings}
    for name in ("rules.yml", "alerts.yml"):
        asked = set(re.findall(r"\bfarm_\w+", (FOLDER / name).read_text()))
        assert asked <= series, f"{name} asks for {asked - series}"
