"""This machine's renderer, put together."""

import sys

from farm.catalogue import Catalogue
from farm.reports import Renderer
from farm.runtime.base import Runtime


def make_renderer(catalogue: Catalogue, *, null: bool, null_seconds: float = 0.0) -> Renderer:
    """This machine's renderer: its pipeline process, or one that needs neither device nor model.

    Args:
        catalogue: What to render with.
        null: Whether to use neither.
        null_seconds: How long the one that needs neither takes for an image.
    """
    if null:
        from farm.worker.null_renderer import NullRenderer

        return NullRenderer(catalogue.models(), seconds_per_image=null_seconds)
    from farm.worker.pipeline_host import PipelineHost

    return PipelineHost(catalogue.models(), _runtime())


def _runtime() -> Runtime:
    """Core ML where there is one, the portable runtime everywhere else."""
    if sys.platform == "darwin":
        from farm.runtime.coreml import CoreMLRuntime

        return CoreMLRuntime()
    from farm.runtime.portable import PortableRuntime

    return PortableRuntime()
