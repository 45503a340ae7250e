"""This machine's renderer, put together."""

from collections.abc import Mapping
from pathlib import Path

from farm.catalogue import Catalogue
from farm.reports import Renderer

MEASUREMENTS = "measurements.json"
"""Name of the file of what this machine has measured, in a worker's folder."""


def make_renderer(
    catalogue: Catalogue,
    folder: Path,
    *,
    null: bool,
    null_seconds: float = 0.0,
    labels: Mapping[str, str] | None = None,
) -> Renderer:
    """This machine's renderer: its pipeline process, or one that needs neither device nor model.

    Args:
        catalogue: What to render with.
        folder: The worker's folder, in which it keeps what it has measured.
        null: Whether to use neither.
        null_seconds: How long the one that needs neither takes for an image.
        labels: Labels that jobs can ask for.
    """
    if null:
        from farm.worker.null_renderer import NullRenderer

        return NullRenderer(catalogue.models(), seconds_per_image=null_seconds, labels=labels)
    from farm.runtime.select import select_runtime
    from farm.worker.pipeline_host import PipelineHost

    return PipelineHost(catalogue.models(), select_runtime(), labels=labels, measurements=folder / MEASUREMENTS)
