"""The environment variables that the farm reads."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

BETWEEN_PROCESSES = {"FARM_WORKER_SOCKET"}
"""What the farm's own processes tell each other, and nobody sets by hand."""


def test_every_environment_variable_is_on_the_page_about_running_a_farm_and_none_else_is() -> None:
    sources = (path.read_text() for path in (ROOT / "farm").rglob("*.py") if "_pb2" not in path.name)
    read = {name for source in sources for name in re.findall(r'"(FARM_[A-Z_]+)"', source)}
    page = (ROOT / "docs" / "running.md").read_text()
    assert read - BETWEEN_PROCESSES == set(re.findall(r"^\| `(FARM_[A-Z_]+)` \|", page, re.MULTILINE))
