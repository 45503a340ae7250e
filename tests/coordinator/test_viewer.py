"""What the farm's views leave out."""

from farm.coordinator.viewer import farm_view
from farm.scheduler.state import FarmState
from farm.scheduler.transitions import apply
from tests.builders import job_opened


def test_whoever_watches_sees_their_own_jobs_however_many_others_are_before_them() -> None:
    state = FarmState()
    for number in range(8):
        apply(state, job_opened(f"anna-{number}", time=float(number), submitter="anna"))
    for number in range(8):
        apply(state, job_opened(f"ben-{number}", time=100.0 + number, submitter="ben"))
    shown = [job.job_id for job in farm_view(state, 200.0, 2, {"anna"}).jobs]
    assert shown == ["ben-7", "ben-6", "anna-7", "anna-6"]
    assert [job.job_id for job in farm_view(state, 200.0, 2, ()).jobs] == ["ben-7", "ben-6"]
    assert farm_view(state, 200.0, 2, ()).live_counts == {"anna": 8, "ben": 8}
