"""What a newcomer sees: how long `make demo` takes, and whether the bundled model draws what it is told.

The prompts are drawn from the model's grammar with a generator that served for nothing else; each picture is judged by
pixels, with the checker that finds nothing wrong with drawn pictures (measured here too, beside the model's).
"""

import random
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from benchmarks.report import report
from examples.shapes.captions import write_caption
from examples.shapes.checker import Verdict, check
from examples.shapes.scenes import Pixels, Scene, arrange, draw, random_scene
from farm.catalogue import Catalogue
from farm.diffusion.pipeline import Pipeline
from farm.domain import ComputeUnit, RenderSpec
from farm.runtime.portable import PortableRuntime

CHECKOUT = Path(__file__).parent.parent
DEMO_SECONDS_GOAL = 45.0
SCENES = 200
SCENE_SEED = 20_240_229
"""Draws prompts and noise seeds here and nowhere else: nothing was ever chosen by looking at these pictures."""

STEPS, GUIDANCE_SCALE, SAMPLER = 20, 2.0, "dpmpp-2m"

ONE_THING_FIGURES: dict[str, tuple[Callable[[Verdict], bool], float | None]] = {
    "one object: background and colour right": (lambda verdict: verdict.background and verdict.colors, 97.0),
    "one object: shape right": (lambda verdict: verdict.shapes, 90.0),
    "one object: all right": (lambda verdict: verdict.all, None),
}
TWO_THINGS_FIGURES: dict[str, tuple[Callable[[Verdict], bool], float | None]] = {
    "two objects: all right": (lambda verdict: verdict.all, 75.0),
}


@click.command()
@click.option("--only", type=click.Choice(["time", "quality"]), help="Measure one of the two; the default is both.")
def main(only: str | None) -> None:
    """Measures the demo and prints a JSON line a figure."""
    if only != "quality":
        report_time()
    if only != "time":
        report_quality()


def report_time() -> None:
    """Runs `make demo` twice; the first may have to install, the second is the one that counts."""
    first, second = _seconds_of_demo(), _seconds_of_demo()
    report(
        "demo",
        "second make demo",
        second,
        "s",
        DEMO_SECONDS_GOAL,
        compared_with=f"the first one in the same run, {first:.1f} s",
    )


def _seconds_of_demo() -> float:
    start = time.perf_counter()
    subprocess.run(["make", "demo"], cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def report_quality() -> None:
    """Renders fresh prompts with the farm's pipeline and judges them by pixels."""
    rng = random.Random(SCENE_SEED)
    pipeline = Pipeline.load(Catalogue().get("shapes").variants[0], PortableRuntime(), ComputeUnit.CPU_ONLY)
    for thing_count, figures in ((1, ONE_THING_FIGURES), (2, TWO_THINGS_FIGURES)):
        scenes = [random_scene(rng, thing_count) for _ in range(SCENES)]
        rendered = [check(scene, _render(pipeline, scene, rng)) for scene in scenes]
        drawn = [check(scene, draw(scene, arrange(scene, rng), rng)) for scene in scenes]
        for figure, (right, goal) in figures.items():
            report(
                "demo",
                figure,
                _percent(right, rendered),
                "%",
                goal,
                compared_with=f"{_percent(right, drawn):g} % of drawn pictures of the same {SCENES} scenes",
                smaller_is_better=False,
            )


def _render(pipeline: Pipeline, scene: Scene, rng: random.Random) -> Pixels:
    spec = RenderSpec(
        prompt=write_caption(scene, rng),
        negative_prompt="",
        seed=rng.randrange(2**32),
        width=64,
        height=64,
        steps=STEPS,
        guidance_scale=GUIDANCE_SCALE,
        sampler=SAMPLER,
    )
    steps = pipeline.render(spec)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            pixels: Pixels = finished.value.pixels
            return pixels


def _percent(right: Callable[[Verdict], bool], verdicts: Sequence[Verdict]) -> float:
    return 100 * sum(map(right, verdicts)) / len(verdicts)


if __name__ == "__main__":
    main()
