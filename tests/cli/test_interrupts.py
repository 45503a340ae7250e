"""Ctrl-C before a command has begun to work: in the imports, which are what a `farm` command does at first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

INTERRUPTED_IN_AN_IMPORT = """
import os, signal, sys

last = sys.argv.pop(1)

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == last:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
from farm.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["farm.cli.main", "click", "farm.cli.models", "rich.console"])
def test_ctrl_c_in_an_import_is_told_in_a_word(module: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IN_AN_IMPORT, module, "models", "list", "--local"],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (130, "Interrupted.\n", "")
