import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from PIL import Image

from farm.diffusion.png import read_provenance
from farm.domain import AttemptKey, AttemptState
from farm.reports import AttemptReport, ImageFailureReport, ImageReport, StageReport, StepReport
from farm.worker.null_renderer import Misbehaviour, NullRenderer, padded
from tests.worker.builders import Reports, assignment, model, variant


@contextmanager
def null_renderer(
    *,
    seconds_per_image: float = 0.0,
    report_steps: bool = False,
    failures: Mapping[int, int] | None = None,
    misbehaviour: Misbehaviour | None = None,
) -> Iterator[tuple[NullRenderer, Reports]]:
    renderer = NullRenderer(
        (model(),),
        seconds_per_image=seconds_per_image,
        report_steps=report_steps,
        failures=failures,
        misbehaviour=misbehaviour,
    )
    reports = Reports()
    renderer.start(reports)
    try:
        yield renderer, reports
    finally:
        renderer.stop()


def test_each_image_is_a_png_with_provenance_that_follows_from_its_spec() -> None:
    with null_renderer() as (renderer, reports):
        for number in (1, 2):
            renderer.render(assignment(number, "", ""))
            assert reports.end_of(number).state is AttemptState.SUCCEEDED
    first, second = reports.images_of(1), reports.images_of(2)
    assert [image.index for image in first] == [10, 11]
    assert [image.png for image in first] == [image.png for image in second]
    assert first[0].png != first[1].png
    assert Image.open(io.BytesIO(first[0].png)).size == (8, 8)
    assert read_provenance(first[0].png).provenance == first[0].provenance
    assert first[0].provenance.runtime == renderer.facts.runtime == "null"


def test_it_offers_the_models_it_was_given() -> None:
    renderer = NullRenderer((model(variant("sha256:a"), variant("sha256:b")),))
    assert [offer.digest for offer in renderer.facts.offers] == ["sha256:a", "sha256:b"]


def test_steps_are_reported_if_asked_for() -> None:
    with null_renderer(report_steps=True) as (renderer, reports):
        renderer.render(assignment(1, steps=3))
        reports.end_of(1)
    assert [r.step for r in reports.seen if isinstance(r, StepReport)] == [1, 2, 3]


def test_an_image_takes_the_time_it_was_given() -> None:
    with null_renderer(seconds_per_image=0.1) as (renderer, reports):
        began = time.monotonic()
        renderer.render(assignment(1, "", ""))
        reports.end_of(1)
        assert time.monotonic() - began >= 0.2
    assert all(image.render_seconds >= 0.1 for image in reports.images_of(1))


def test_a_machine_that_slows_down_takes_longer_from_the_next_step_on() -> None:
    slowness = iter([1.0, 1.0, 4.0, 4.0])
    renderer = NullRenderer((model(),), seconds_per_image=0.04, slowness=lambda: next(slowness))
    reports = Reports()
    renderer.start(reports)
    renderer.render(assignment(1, "", steps=4))
    reports.end_of(1)
    renderer.stop()
    assert reports.images_of(1)[0].render_seconds >= 0.1


def test_a_padded_picture_has_the_size_asked_for_and_shows_the_same() -> None:
    with null_renderer() as (renderer, reports):
        renderer.render(assignment(1, ""))
        reports.end_of(1)
    small = reports.images_of(1)[0].png
    large = padded(small, 50_000)
    assert len(large) == 50_000
    assert padded(small, len(small)) == small
    assert read_provenance(large) == read_provenance(small)
    assert Image.open(io.BytesIO(large)).tobytes() == Image.open(io.BytesIO(small)).tobytes()


def test_an_image_fails_as_often_as_it_was_told_to() -> None:
    with null_renderer(failures={11: 2}) as (renderer, reports):
        for _ in range(3):
            renderer.render(assignment(1, "", ""))
            assert reports.end_of(1).state is AttemptState.SUCCEEDED
    assert [r.index for r in reports.seen if isinstance(r, ImageFailureReport)] == [11, 11]
    assert [image.index for image in reports.images_of(1)] == [10, 10, 10, 11]


def test_a_cancelled_attempt_ends_at_its_next_step_and_one_that_waits_at_once() -> None:
    with null_renderer(seconds_per_image=60) as (renderer, reports):
        renderer.render(assignment(1, "", "", steps=1000))
        renderer.render(assignment(2))
        reports.next(StageReport)
        renderer.cancel(AttemptKey("job", 2), "two")
        renderer.cancel(AttemptKey("job", 1), "one")
        ends = [reports.next(AttemptReport), reports.next(AttemptReport)]
    assert [(end.key.number, end.state, end.reason) for end in ends] == [
        (2, AttemptState.CANCELLED, "two"),
        (1, AttemptState.CANCELLED, "one"),
    ]
    assert not reports.images_of(1)


def test_a_released_attempt_finishes_its_image() -> None:
    with null_renderer(seconds_per_image=0.3) as (renderer, reports):
        renderer.render(assignment(1, *[""] * 50))
        reports.next(StageReport)
        renderer.release(AttemptKey("job", 1))
        assert reports.end_of(1).state is AttemptState.ABANDONED
    assert 1 <= len(reports.images_of(1)) < 50


def test_it_stops_in_the_middle_of_an_image() -> None:
    with null_renderer(seconds_per_image=60) as (renderer, reports):
        renderer.render(assignment(1, steps=1))
        reports.next(StageReport)
        began = time.monotonic()
    assert time.monotonic() - began < 30


def test_garbage_is_no_png() -> None:
    with null_renderer(misbehaviour=Misbehaviour.GARBAGE) as (renderer, reports):
        renderer.render(assignment(1))
        image = reports.next(ImageReport)
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(image.png))


def test_a_repeating_renderer_delivers_each_image_twice() -> None:
    with null_renderer(misbehaviour=Misbehaviour.REPEAT) as (renderer, reports):
        renderer.render(assignment(1, "", ""))
        reports.end_of(1)
    assert [image.index for image in reports.images_of(1)] == [10, 10, 11, 11]


def test_a_silent_renderer_says_nothing() -> None:
    with null_renderer(misbehaviour=Misbehaviour.SILENCE) as (renderer, reports):
        renderer.render(assignment(1))
        time.sleep(0.1)
    assert not reports.arrived
