"""What the page is told: pictures, what changes between them, the past that they show."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.coordinator.views import FarmView, JobView, ProgressView
from farm.domain import AttemptKey, AttemptState, ChipClass, JobState
from farm.reports import Stage
from farm.scheduler import events as ev
from farm.web.history import MAX_BARS, MINUTES, RECENT, History
from farm.web.picture import Audience, Picture, changes, paint
from tests.builders import attempt_started, image_committed, job_spec, worker_facts

PICTURES = st.dictionaries(
    st.sampled_from(["workers", "jobs", "bars"]),
    st.dictionaries(st.text("abc", max_size=2), st.integers() | st.lists(st.integers(), max_size=2), max_size=5),
    max_size=3,
)

ADMIN, ANNA, NOBODY = Audience(sees_all=True), Audience("anna"), Audience()


def merged(picture: Picture, changed: Picture) -> Picture:
    """What the page has after a change, as its store does it."""
    result = {section: dict(cards) for section, cards in picture.items()}
    for section, cards in changed.items():
        known = result.setdefault(section, {})
        for key, card in cards.items():
            if card is None:
                known.pop(key, None)
            else:
                known[key] = card
    return {section: cards for section, cards in result.items() if cards}


@given(PICTURES, PICTURES)
def test_a_picture_and_its_changes_give_the_next_one(before: Picture, after: Picture) -> None:
    assert merged(before, changes(before, after)) == {section: cards for section, cards in after.items() if cards}


@given(PICTURES)
def test_of_what_stays_as_it_is_nothing_is_told(picture: Picture) -> None:
    assert changes(picture, picture) == {}


def job(job_id: str, submitter: str) -> JobView:
    return JobView(job_id, job_spec(), JobState.RUNNING, submitter, 0, 4, 1, 0, 1.0, 2.0, None, None, "")


@pytest.mark.parametrize(
    ("who", "jobs", "shown"), [(ADMIN, {"a", "b"}, {"a", "b"}), (ANNA, {"a"}, {"a"}), (NOBODY, set(), set())]
)
def test_of_others_jobs_only_admins_learn_that_they_exist(who: Audience, jobs: set[str], shown: set[str]) -> None:
    history = History()
    history.observe([image_committed("a", worker_id="w"), image_committed("b", worker_id="v")], now=5.0)
    rendering: Mapping[str, ProgressView] = {
        "w": ProgressView("a", 1, "w", 1, Stage.DENOISE, 2, 4),
        "v": ProgressView("b", 1, "v", 1, Stage.DENOISE, 2, 4),
    }
    view = FarmView((), (job("a", "anna"), job("b", "ben")), {"anna": 1, "ben": 1}, rendering)
    picture = paint(view, [], history, {"a": "anna", "b": "ben"}, who)
    assert picture["jobs"].keys() == jobs
    assert {key.partition("/")[0] for key in picture["recent"]} == shown
    assert {card[0] for card in picture["shots"].values()} == shown
    assert {card[0] for card in picture["work"].values()} - {""} == shown
    assert {card[1] for card in picture["bars"].values()} - {""} == shown
    assert len(picture["work"]) == len(picture["bars"]) == 2, "that a Mac is busy is no secret"
    assert picture["farm"]["live_jobs"] == len(jobs)


def test_a_run_of_images_is_one_bar_from_the_start_of_the_first_to_the_end_of_the_last() -> None:
    history = History()
    history.observe([image_committed(index=n, time=10.0 + 2 * n, seconds=2.0) for n in range(3)], now=14.0)
    (bar,) = history.bars.values()
    assert (bar.start, bar.end, bar.images) == (8.0, 14.0, 3)


def test_images_are_counted_by_the_minute_and_class_of_chip() -> None:
    history = History()
    history.observe([image_committed(index=n, time=t) for n, t in enumerate((1.0, 59.0, 61.0))], now=61.0)
    assert history.minutes == {0: {ChipClass.CPU: 2}, 1: {ChipClass.CPU: 1}}


def test_the_past_that_is_remembered_is_bounded() -> None:
    history = History()
    for number in range(MAX_BARS + 100):
        history.observe([image_committed(number=number, index=number, time=60.0 * number)], now=60.0 * number)
    assert len(history.bars) == MAX_BARS
    assert len(history.minutes) == MINUTES
    assert max(history.minutes) == MAX_BARS + 99
    assert len(history.recent) == RECENT


def test_the_time_of_a_worker_is_booked_by_stage_and_what_is_left_is_idle() -> None:
    history = History()
    key = AttemptKey("j", 1)
    for now, event in (
        (0.0, ev.WorkerJoined("w", 0.0, worker_facts())),
        (2.0, attempt_started()),
        (3.0, ev.StageBegun(key, Stage.LOAD, None)),
        (7.0, ev.StageBegun(key, Stage.DENOISE, 0)),
        (12.0, ev.AttemptEnded("j", 12.0, 1, AttemptState.SUCCEEDED, "", worker_id="w")),
    ):
        history.observe([event], now)
    assert history.seconds_by_stage("w", 20.0) == {"idle": 11.0, "load": 4.0, "denoise": 5.0}
    history.observe([ev.WorkerLeft("w", 21.0, "gone")], 21.0)
    assert history.seconds_by_stage("w", 30.0) == {}


def test_heartbeats_alone_wake_nobody() -> None:
    history = History()
    history.observe([ev.WorkerSeen("w", 1.0)], 1.0)
    assert not history.touched.is_set()
    history.observe([image_committed()], 1.0)
    assert history.touched.is_set()
