import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from tests.macos_report import describe, summarize, versions

JUNIT = """
<testsuites><testsuite>
<testcase name="test_a" time="1.25"/>
<testcase name="test_b" time="0.5"><failure message="off">...</failure></testcase>
<testcase name="test_c" time="0"><skipped message="no GPU"/></testcase>
<testcase name="test_d" time="2"><error message="no model"/></testcase>
</testsuite></testsuites>
"""


def test_the_summary_has_a_line_for_each_test_and_the_totals() -> None:
    assert summarize(ET.fromstring(JUNIT)).splitlines() == [
        "passed       1.2 s  test_a",
        "failed       0.5 s  test_b",
        "skipped      0.0 s  test_c",
        "failed       2.0 s  test_d",
        "1 passed, 2 failed, 1 skipped",
    ]


def test_a_command_that_is_missing_is_part_of_the_description() -> None:
    assert describe((sys.executable, "-c", "print('Apple M2')")).endswith("\nApple M2\n")
    assert "No such file" in describe(("no-such-command-anywhere",))


def test_the_versions_are_those_that_decide_results() -> None:
    assert any(line.startswith("coremltools ") for line in versions())


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac runs the tests")
def test_off_a_mac_the_report_says_what_it_needs() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.macos_report"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "These tests need Core ML" in done.stderr
