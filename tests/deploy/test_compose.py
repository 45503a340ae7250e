"""deploy/compose.yaml names files that are there. Neither Docker nor Grafana is started."""

import os
import re
import subprocess
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text()


def test_every_file_that_is_mounted_is_there() -> None:
    mounted = re.findall(r"- (\.[^:]+):", COMPOSE)
    assert len(mounted) >= 5
    assert not [path for path in mounted if not (DEPLOY / path).exists()]


def test_the_configuration_that_is_mounted_is_the_copy_that_the_page_says_to_write(tmp_path: Path) -> None:
    (line,) = re.findall(r"^    (sed .*)$", (DEPLOY.parent / "docs" / "monitoring.md").read_text(), re.MULTILINE)
    environment = {**os.environ, "FARM_STATE": str(tmp_path)}
    subprocess.run(["sh", "-c", line], cwd=DEPLOY.parent, env=environment, check=True)
    assert (tmp_path / "prometheus.yml").read_text().count("NAME-OF-THIS-MACHINE:7435") == 2
    assert "${FARM_STATE:?export FARM_STATE}/prometheus.yml:/etc/prometheus/prometheus.yml:ro" in COMPOSE


def test_prometheus_finds_beside_its_configuration_what_it_names() -> None:
    config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    named = set(re.findall(r"(?:_file: |  - )([\w/-]+(?:\.yml|\.pem|-token))\b", config))
    assert named == {"rules.yml", "alerts.yml", "farm/scrape-token", "farm/ca.pem"}
    assert not [name for name in named if f":/etc/prometheus/{name}:ro" not in COMPOSE]


def test_grafana_loads_the_dashboards_from_where_they_are_mounted() -> None:
    path = re.search(r"path: (\S+)", (DEPLOY / "grafana" / "dashboards.yaml").read_text())
    assert path is not None
    assert f"../dashboards:{path[1]}:ro" in COMPOSE
    home = re.search(rf"HOME_DASHBOARD_PATH: {path[1]}/(\S+)", COMPOSE)
    assert home is not None
    assert (DEPLOY.parent / "dashboards" / home[1]).is_file()


def test_nothing_of_it_listens_for_other_machines() -> None:
    ports = re.findall(r'ports: \["([^"]+)"\]', COMPOSE)
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)
