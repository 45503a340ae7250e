"""deploy/compose.yaml names files that are there. Neither Docker nor Grafana is started."""

import re
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text()


def test_every_file_that_is_mounted_is_there() -> None:
    mounted = re.findall(r"- (\.[^:]+):", COMPOSE)
    assert len(mounted) >= 6
    assert not [path for path in mounted if not (DEPLOY / path).exists()]


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
