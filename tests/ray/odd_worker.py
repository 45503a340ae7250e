"""A worker that no user would run: its renderer does as a test wants it. `farm worker run` in all else."""

import argparse
import enum
import logging
from pathlib import Path
from queue import SimpleQueue

from farm.carrier.security import RaySecurity, TlsFiles, ray_token
from farm.catalogue import Catalogue
from farm.cli.logs import log_to_stderr
from farm.cli.stdin import when_stdin_ends
from farm.renderer import Renderer
from farm.worker.daemon import Inbox
from farm.worker.deadlines import Deadlines
from farm.worker.null_renderer import Misbehaviour, NullRenderer
from farm.worker.pipeline_host import PipelineHost
from farm.worker.service import WorkerSettings, run_worker, stop_worker
from tests.worker.builders import NoRuntime

DEADLINE_SECONDS = 2.0


class Oddity(enum.Enum):
    """What is odd about a worker."""

    SCRIPTED = "scripted"
    """Its pipeline process is real, and does what each prompt says (tests.worker.pipelines)."""
    GARBAGE = "garbage"
    """What it delivers is no picture."""
    AFAR = "afar"
    """It reaches Ray over a network, with certificates that were made for it."""


def renderer(oddity: Oddity, seconds_per_image: float) -> Renderer:
    models = Catalogue().models()
    if oddity is not Oddity.SCRIPTED:
        misbehaviour = Misbehaviour.GARBAGE if oddity is Oddity.GARBAGE else None
        return NullRenderer(models, seconds_per_image=seconds_per_image, misbehaviour=misbehaviour)
    deadlines = Deadlines(encode=DEADLINE_SECONDS, first_step=DEADLINE_SECONDS, step_floor=DEADLINE_SECONDS)
    return PipelineHost(models, NoRuntime(), deadlines=deadlines, pipeline="tests.worker.pipelines:scripted")


def tls_files(state: Path, name: str) -> TlsFiles:
    """Where the certificates of a worker, or of the coordinator, are kept for such a test."""
    folder = state / "tls"
    return TlsFiles(folder / f"{name}.pem", folder / f"{name}-key.pem", folder / "ca.pem")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("oddity", type=Oddity)
    parser.add_argument("--name")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--ray-address")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--null-seconds", type=float)
    given = parser.parse_args()
    log_to_stderr(logging.INFO)
    inbox: Inbox = SimpleQueue()
    when_stdin_ends(lambda: stop_worker(inbox))
    tls = tls_files(given.state, given.name) if given.oddity is Oddity.AFAR else None
    security = RaySecurity(ray_token(given.state / "access"), tls)
    settings = WorkerSettings(given.name, given.folder, given.ray_address, security)
    run_worker(settings, renderer(given.oddity, given.null_seconds), inbox)


if __name__ == "__main__":
    main()
