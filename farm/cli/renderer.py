"""This machine's renderer, put together."""

from farm.catalogue import Catalogue
from farm.reports import Renderer


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
    from farm.runtime.select import select_runtime
    from farm.worker.pipeline_host import PipelineHost

    return PipelineHost(catalogue.models(), select_runtime())
