"""How the farm logs."""

import logging

from farm.cli.logs import FieldsFormatter


def test_a_line_holds_what_happened_and_its_fields() -> None:
    record = logging.makeLogRecord({"msg": "job.accepted", "levelname": "INFO", "job": "x y", "images": 3})
    assert FieldsFormatter().format(record).endswith(" INFO job.accepted job='x y' images=3")
