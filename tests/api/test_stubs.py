"""The generated stubs, which are committed so that nobody needs a compiler to use the farm."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def sources(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*_pb2*.py*")}


def test_the_stubs_are_what_make_proto_generates_from_the_protos(tmp_path: Path) -> None:
    command = ["make", "-C", str(ROOT), "--old-file", ".venv/.test", "proto"]
    subprocess.run([*command, f"BIN={Path(sys.executable).parent}", f"STUBS={tmp_path}"], check=True)
    made, committed = sources(tmp_path / "farm" / "v1"), sources(ROOT / "farm" / "v1")
    assert made
    assert [name for name in made.keys() | committed.keys() if made.get(name) != committed.get(name)] == []
