"""Audits a batch by hand: prints what is wrong, and exits with 1 if anything is."""

import argparse
import sys
from pathlib import Path

from tests.audit.check import audit


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.audit", description=__doc__)
    parser.add_argument("journal", type=Path, help="journal.sqlite3 of the coordinator's state folder")
    parser.add_argument("job", help="the job, with or without jobs/")
    parser.add_argument("submitted", type=Path, help="the batch file: txt, csv or jsonl")
    parser.add_argument("output", type=Path, help="the folder that the images were pulled to")
    parser.add_argument("--store", type=Path, help="the job's folder in the coordinator's state: state/images/JOB")
    given = parser.parse_args()
    findings = audit(given.journal, given.job.removeprefix("jobs/"), given.submitted, given.output, given.store)
    for finding in findings:
        print(finding)
    print(f"{len(findings)} findings" if findings else "nothing is wrong")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
