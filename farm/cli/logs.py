"""How the farm logs: a dotted name of what happened, then its fields."""

import logging

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class FieldsFormatter(logging.Formatter):
    """Writes `time LEVEL what.happened field=value ...`, with the fields that were given as `extra`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line of a record, without its traceback."""
        fields = (f"{name}={value!r}" for name, value in vars(record).items() if name not in _STANDARD)
        return " ".join([super().formatMessage(record), *fields])


def log_to_stderr(level: int) -> None:
    """Sends what is logged at `level` and above to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(FieldsFormatter())
    logging.basicConfig(level=level, handlers=[handler])
