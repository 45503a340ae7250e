"""coremltools' own operation tests, run against the portable runtime; see docs/operations.md.

A comparison counts as fp32 if its program computes nothing in fp16, whatever the test is listed under. Those among them
whose parameters name fp16 are told apart: what they expect is rounded. A whole run takes an hour on a quiet machine;
`--every 10` gives a sample, `--family conv` the tests whose files or names have that word.
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
        summarize([json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()])


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
    """What a test compares in; those in fp32 whose data or expectation are made in fp16 stand for themselves."""
    precision = line.get("precision", "")
    has_half = "fp16" in line["test"] or "float16" in line["test"]
    return "fp32 of fp16 data" if precision == "fp32" and has_half else precision


def summarize(lines: list[dict[str, str]]) -> None:
    """Reports the figures of a run."""
    counts = Counter((_precision(line), line["outcome"]) for line in lines)
    for line in lines:
        if line["outcome"] == "not run":
            counts["", "not run"] += int(line["count"]) - 1
    told = ", ".join(f"{outcome} {precision or 'of none'}: {n}" for (precision, outcome), n in sorted(counts.items()))
    for precision, goal in (("fp32", 98.0), ("fp32 of fp16 data", None), ("fp16", None)):
        passed, failed = counts[precision, "passed"], counts[precision, "failed"]
        if passed + failed:
            report("operations", f"comparisons in {precision} that agree", round(100 * passed / (passed + failed), 2),
                   "%", goal, compared_with=f"{passed} of {passed + failed}; all tests: {told}",
                   smaller_is_better=False)  # fmt: skip
    unsupported = [line for line in lines if line["outcome"] == "unsupported"]
    outside = [line for line in unsupported if not any(reason in line["reason"] for reason in LEFT_OUT.values())]
    asked = sum(n for (_, outcome), n in counts.items() if outcome in ("passed", "failed")) + len(outside)
    if asked:
        report("operations", "unsupported outside the families that are left out",
               round(100 * len(outside) / asked, 2), "%", 5.0, compared_with=f"{len(outside)} of {asked}")  # fmt: skip


if __name__ == "__main__":
    main()
