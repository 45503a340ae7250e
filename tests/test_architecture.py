"""Holds the rooms to the table in docs/architecture.md: who may import whom, and which library lives where."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONG_FILES

ROOT = Path(__file__).parents[1]
FARM = ROOT / "farm"

EVERYWHERE = {"domain", "errors"}

ROOMS: dict[str, set[str]] = {
    "domain": set(),
    "errors": set(),
    "installation": set(),
    "access": {"installation"},
    "reports": set(),
    "renderer": {"reports"},
    "scheduler": {"reports"},
    "simulator": {"reports", "scheduler"},
    "metrics": set(),
    "mil": set(),
    "runtime": {"installation", "mil"},
    "diffusion": {"reports", "runtime.base", "runtime.chain"},
    "catalogue": {"installation", "mil.compiled", "mil.messages", "mil.package"},
    "convert": {"catalogue", "runtime", "diffusion"},
    "child": set(),
    "carrier": {"child", "reports", "scratch"},
    "scratch": set(),
    "worker": {
        "carrier",
        "catalogue",
        "child",
        "diffusion",
        "installation",
        "metrics",
        "renderer",
        "reports",
        "runtime",
        "scratch",
    },
    "coordinator": {"carrier", "child", "installation", "metrics", "renderer", "reports", "scheduler"},
    "v1": set(),
    "webhooks": {"access", "api", "coordinator", "installation", "scheduler"},
    "web": {"access", "api", "carrier", "coordinator", "metrics", "reports", "scheduler", "scratch", "v1"},
    "api": {"access", "reports", "coordinator", "v1"},
    "batch": set(),
    "contact_sheet": set(),
    "channel": {"access", "api"},
    "connection": {"access", "api", "channel", "v1"},
    "client": {"access", "api", "connection", "v1", "output_folder"},
    "output_folder": {"api", "contact_sheet", "v1"},
}
"""Rooms (folders and top-level modules of farm/) and the rooms each may import, beside itself and EVERYWHERE.

`cli`, `__main__` and the package itself are not listed: they put everything together."""

PAGE = (ROOT / "docs" / "architecture.md").read_text()

LIBRARIES = {
    row[1]: {place.replace("/", ".") for place in re.findall(r"`([^`]+)`", row[2])}
    for row in re.finditer(r"^\| `(\w+)` \|((?: `[\w/]+`)+) \|$", PAGE, re.MULTILINE)
}
"""Libraries that only some rooms or modules know, from the table on that page."""

IMPURE = {
    "time",
    "datetime",
    "asyncio",
    "random",
    "secrets",
    "logging",
    "os",
    "pathlib",
    "sqlite3",
    "threading",
    "uuid",
}
"""What the scheduler must not know, so that the simulator runs the very same code."""


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name below `farm` and path of every module that people wrote."""
    for path in sorted(FARM.rglob("*.py")):
        if not path.name.startswith(("__main__", "__init__")) and "_pb2" not in path.name:
            yield ".".join(path.relative_to(FARM).with_suffix("").parts), path


def imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def libraries(path: Path) -> set[str]:
    """Those of the table that a file imports."""
    return {name.split(".")[0] for name in imports(path)} & LIBRARIES.keys()


def belongs(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


MODULES = dict(modules())


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_the_rooms_that_it_may(module: str) -> None:
    room = module.split(".", maxsplit=1)[0]
    if room == "cli":
        return
    allowed = ROOMS[room] | EVERYWHERE | {room}
    named = {name.removeprefix("farm.") for name in imports(MODULES[module]) if name.startswith("farm.")}
    strays = {
        name for name in named if not belongs(name, allowed) and not any(a.startswith(f"{name}.") for a in allowed)
    }
    assert not strays, f"farm.{module} imports {sorted(strays)}; the table allows {sorted(allowed)}"


def test_every_place_in_the_table_of_libraries_uses_its_library() -> None:
    used = {(library, module) for module, path in MODULES.items() for library in libraries(path)}
    rows = [(library, place) for library, places in LIBRARIES.items() for place in places if place != "v1"]
    assert {"grpc", "ray", "torch"} <= LIBRARIES.keys()
    assert [row for row in rows if not any(row[0] == one and belongs(module, {row[1]}) for one, module in used)] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_library_is_known_only_where_it_lives(module: str) -> None:
    strays = {name for name in libraries(MODULES[module]) if not belongs(module, LIBRARIES[name])}
    assert not strays, f"farm.{module} imports {sorted(strays)}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith(("scheduler.", "domain.", "reports"))])
def test_the_scheduler_knows_no_clock_no_disk_no_thread_and_no_chance(module: str) -> None:
    allowed = {"pathlib"} if module == "domain.models" else set()
    assert not {name.split(".")[0] for name in imports(MODULES[module])} & (IMPURE - allowed)


def test_every_room_is_in_the_table_and_every_row_of_the_table_is_a_room() -> None:
    rooms = {module.split(".")[0] for module in MODULES} | {"v1"}
    assert rooms - {"cli"} == set(ROOMS)


def test_the_architecture_page_names_every_room() -> None:
    missing = [room for room in ROOMS if f"`farm/{room}" not in PAGE]
    assert not missing, f"docs/architecture.md does not name {missing}"


def test_files_stay_of_a_size_that_can_be_read() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    long = {name: lines for name, lines in lengths.items() if lines > 400}
    assert not long, f"split by noun: {long}"


def test_the_files_that_begin_first_are_there() -> None:
    assert [name for name in LONG_FILES if not (ROOT / "tests" / name).exists()] == []
