import os
import subprocess
import sys
from pathlib import Path

from farm.scratch import scratch_folder


def test_a_scratch_folder_is_gone_when_its_block_ends(tmp_path: Path) -> None:
    with scratch_folder("farm-x", tmp_path) as folder:
        (folder / "inner").mkdir()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_swept_away_and_nothing_else(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = [f"farm-x-{ended.pid}-a", f"farm-x-{os.getpid()}-a", "farm-x-mine", f"other-{ended.pid}-a"]
    for name in names:
        (tmp_path / name / "inner").mkdir(parents=True)
    with scratch_folder("farm-x", tmp_path):
        assert all((tmp_path / name).exists() == (name != names[0]) for name in names)
