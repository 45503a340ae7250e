"""Reads what is served at /metrics, as Prometheus' own reader does."""

from prometheus_client.parser import text_string_to_metric_families


class Exposition:
    """One scrape.

    Args:
        text: Its body.
    """

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of that name with these labels; 0 where there is none."""
        return sum(one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items())

    def names(self) -> set[str]:
        """Names of all series."""
        return {sample.name for sample in self.samples}

    def labels(self) -> set[str]:
        """Values of all labels."""
        return {value for sample in self.samples for value in sample.labels.values()}
