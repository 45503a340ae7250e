"""This machine's renderer, put together."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from farm.catalogue import Catalogue
from farm.renderer import Renderer

MEASUREMENTS = "measurements.json"
"""Name of the file of what this machine has measured, in a worker's folder."""


@contextmanager
def local_renderer(
    folder: Path,
    *,
    null: bool,
    null_seconds: float = 0.0,
    labels: Mapping[str, str] | None = None,
) -> Iterator[Renderer]:
    """This machine's renderer: its pipeline process, or one that needs neither device nor model.

    Until the context ends it is told of models that come and go.

    Args:
        folder: The worker's folder, in which it keeps what it has measured.
        null: Whether to use neither.
        null_seconds: How long the one that needs neither takes for an image.
        labels: Labels that jobs can ask for.
    """
    from farm.worker.model_watch import watch_models

    catalogue = Catalogue()
    renderer: Renderer
    if null:
        from farm.worker.null_renderer import NullRenderer

        renderer = NullRenderer(catalogue.models(), seconds_per_image=null_seconds, labels=labels)
    else:
        from farm.runtime.select import select_runtime
        from farm.worker.pipeline_host import PipelineHost

        runtime, measurements = select_runtime(), folder / MEASUREMENTS
        renderer = PipelineHost(catalogue.models(), runtime, labels=labels, measurements=measurements)
    with watch_models(catalogue, renderer.offer):
        yield renderer
