"""coremltools' own operation tests, run against the portable runtime; see docs/operations.md.

A comparison counts as fp32 if its program computes nothing in fp16, whatever the test is listed under, and what it
expects is fp32. Where an array of fp16 is expected of a program in fp32, the comparison is counted apart, as it is and
with the result rounded to fp16. A whole run takes an hour on a quiet machine; `--every 10` gives a sample,
`--family conv` the tests whose files or names have that word.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from benchmarks.operation_tests import EVERY, PRECISION, RESULTS
from benchmarks.report import report
from farm.mil.translate import LEFT_OUT

ROUNDED = "fp32 with fp16 expected"
"""Comparisons of what is computed in fp32 with what is rounded to fp16."""

TESTS = Path("converters", "mil", "mil", "ops", "tests")


def main() -> None:
    """Runs the tests and reports how many agree, how many are unsupported, and all that was not compared."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--every", type=int, default=1, help="run every n-th test")
    arguments.add_argument("--family", default="", help="run tests whose files or names have this word")
    arguments.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="as the tests are listed")
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--results", type=Path, help="file for one JSON line a test")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = (given.results or Path(folder) / "results.jsonl").absolute()
        results.unlink(missing_ok=True)
        run(results, given.every, given.family, given.precision, given.processes)
        lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
        if not given.family:
            report_coverage(lines)
        summarize(lines)


def run(results: Path, every: int, family: str, precision: str, processes: int) -> None:
    """Runs coremltools' tests with our plugin; failures are results, not errors."""
    found = find_spec("coremltools")
    assert found is not None
    assert found.origin is not None
    tests = Path(found.origin).parent / TESTS
    command = [sys.executable, "-m", "pytest", "-p", "benchmarks.operation_tests", "-p", "no:cacheprovider", "-n"]
    command += [str(processes), str(tests), "--rootdir", str(tests), "-c", os.devnull, "-q", "-k", family]
    settings = {PRECISION: precision, EVERY: str(every), RESULTS: str(results), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[1]
    subprocess.run(command, cwd=root, env={**os.environ, **settings}, stdout=sys.stderr, check=False)


def _precision(line: dict[str, str]) -> str:
    """What a test compares in; that of a result in fp32 with an expectation in fp16 stands for itself."""
    precision = line.get("precision", "")
    return ROUNDED if precision == "fp32" and line["expects"] == "fp16" else precision


def report_coverage(lines: list[dict[str, str]]) -> None:
    """Reports how many of the tests that were to be run have ended: a run that broke off is no result."""
    wanted = sum(int(line["wanted"]) for line in lines if line["outcome"] == "not run")
    ended = len({line["test"] for line in lines if line["outcome"] != "not run"})
    report("operations", "tests that have ended", round(100 * ended / max(1, wanted), 2), "%", 100.0,
           compared_with=f"{ended} of {wanted}", smaller_is_better=False)  # fmt: skip


def summarize(lines: list[dict[str, str]]) -> None:
    """Reports the figures of a run."""
    counts = Counter((_precision(line), line["outcome"]) for line in lines)
    for line in lines:
        if line["outcome"] == "not run":
            counts["", "not run"] += int(line["count"]) - 1
    told = ", ".join(f"{outcome} {precision or 'of none'}: {n}" for (precision, outcome), n in sorted(counts.items()))
    for precision, goal in (("fp32", 98.0), (ROUNDED, None), ("fp16", None)):
        passed, failed = counts[precision, "passed"], counts[precision, "failed"]
        if passed + failed:
            report("operations", f"comparisons in {precision} that agree", round(100 * passed / (passed + failed), 2),
                   "%", goal, compared_with=f"{passed} of {passed + failed}; all tests: {told}",
                   smaller_is_better=False)  # fmt: skip
    halves = [line for line in lines if _precision(line) == ROUNDED and line["outcome"] in ("passed", "failed")]
    if halves:
        agreeing = sum(line["outcome"] == "passed" or line["rounded"] == "agrees" for line in halves)
        report("operations", f"comparisons in {ROUNDED} that agree when the result is rounded to fp16",
               round(100 * agreeing / len(halves), 2), "%", None, compared_with=f"{agreeing} of {len(halves)}",
               smaller_is_better=False)  # fmt: skip
    unsupported = [line for line in lines if line["outcome"] == "unsupported"]
    outside = [line for line in unsupported if not any(reason in line["reason"] for reason in LEFT_OUT.values())]
    asked = sum(n for (_, outcome), n in counts.items() if outcome in ("passed", "failed")) + len(outside)
    if asked:
        report("operations", "unsupported outside the families that are left out",
               round(100 * len(outside) / asked, 2), "%", 5.0, compared_with=f"{len(outside)} of {asked}")  # fmt: skip


if __name__ == "__main__":
    main()
