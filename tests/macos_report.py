"""Runs the tests that need a Mac and writes what somebody without one must know to judge them.

`python -m tests.macos_report` makes `out/macos-report/`: `machine.txt` (the machine as its own tools describe it),
`versions.txt`, `junit.xml` (every test with its time and failure) and `summary.txt`. Share the folder.
"""

import platform
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path

from farm.installation import NAME

FOLDER = Path("out/macos-report")

COMMANDS = (
    ("sw_vers",),
    ("sysctl", "machdep.cpu.brand_string", "hw", "kern.hv_vmm_present"),
    ("ioreg", "-rc", "AGXAccelerator"),
    ("pmset", "-g"),
)
"""What describes a Mac: its system, its chip, its GPU, its power settings. None prints a serial number or a name."""

LIBRARIES = ("coremltools", "numpy", "onnx", "onnxruntime", "protobuf", "torch", "transformers")


def main() -> int:
    """Runs the tests and writes the report; gives pytest's exit code."""
    if sys.platform != "darwin":
        print("These tests need Core ML, which only macOS has. Run `make test-macos` on a Mac.", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "machine.txt").write_text("\n".join(describe(command) for command in COMMANDS))
    (FOLDER / "versions.txt").write_text("\n".join(versions()) + "\n")
    junit = FOLDER / "junit.xml"
    run = [sys.executable, "-m", "pytest", "-m", "macos", "--timeout", "1800", f"--junit-xml={junit}"]
    code = subprocess.run(run, check=False).returncode
    summary = summarize(ET.parse(junit).getroot()) if junit.exists() else "pytest wrote no report"
    (FOLDER / "summary.txt").write_text(summary + "\n")
    print(f"{summary}\nThe report is in {FOLDER}/; please share it.")
    return code


def describe(command: tuple[str, ...]) -> str:
    """A command and what it prints, or why it does not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"$ {' '.join(command)}\n{error}\n"
    return f"$ {' '.join(command)}\n{done.stdout}{done.stderr}"


def versions() -> list[str]:
    """The versions of Python, of the farm and of the libraries that decide results."""
    lines = [f"python {platform.python_version()}", f"{NAME} {version(NAME)}"]
    return lines + [f"{library} {version(library)}" for library in LIBRARIES]


def summarize(report: ET.Element) -> str:
    """A line for each test of a JUnit report, and the totals."""
    lines = []
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    for case in report.iter("testcase"):
        failed = case.find("failure") is not None or case.find("error") is not None
        outcome = "failed" if failed else "skipped" if case.find("skipped") is not None else "passed"
        totals[outcome] += 1
        lines.append(f"{outcome:8}{float(case.get('time', 0)):8.1f} s  {case.get('name')}")
    return "\n".join([*lines, ", ".join(f"{count} {outcome}" for outcome, count in totals.items())])


if __name__ == "__main__":
    sys.exit(main())
