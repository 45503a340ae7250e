"""What the farm's views leave out, and what they say of jobs that wait."""

from farm.coordinator.viewer import explanation, farm_view, live_job_view, prospective_job_view
from farm.domain import JobSpec, Pin
from farm.scheduler import events as ev
from farm.scheduler.state import FarmState
from farm.scheduler.transitions import apply
from tests.builders import DEFAULTS, job_opened
from tests.scheduler.farms import Farm, facts


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


def summary(farm: Farm) -> str:
    return explanation(farm.state, farm.state.jobs["j"], farm.now).summary


def test_a_job_waits_for_the_workers_that_could_render_it_and_are_away_by_name() -> None:
    farm = Farm()
    for number in range(5):
        farm.join(f"attic-{number}", facts({"a": 1.0}, room="attic"))
    farm.join("cellar", facts({"a": 1.0}, room="cellar"))
    farm.submit("j", "a", 10, pin=Pin(worker_labels={"room": "attic"}))
    for number in range(5):
        apply(farm.state, ev.WorkerLeft(f"attic-{number}", farm.now, "it is asleep"))
    farm.decide()
    assert summary(farm).startswith(
        "It waits for attic-0 (offline) or attic-1 (offline) or attic-2 (offline) or 2 more: no other worker can"
    )
    apply(farm.state, ev.WorkerJoined("attic-0", farm.now, facts({"a": 1.0}, room="attic")))
    apply(farm.state, ev.WorkerSuspended("attic-0", farm.now, "its user is there"))
    assert summary(farm).startswith("It waits for attic-0 (suspended) or attic-1 (offline)")


def test_a_job_that_nobody_can_render_any_more_says_so_wherever_it_is_listed_until_somebody_can() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    farm.submit("j", "a", 10)

    def reason() -> str:
        return live_job_view(farm.state, farm.state.jobs["j"], farm.now).reason

    assert reason() == "", "nothing is planned yet"
    apply(farm.state, ev.WorkerChanged("w", facts({"b": 1.0})))
    farm.pass_time(5)
    farm.decide()
    assert reason() == "no worker that is here now can render it"
    assert summary(farm) == "It waits for a worker that can render it: none can now. Each line below says why."
    apply(farm.state, ev.WorkerChanged("w", facts({"a": 1.0})))
    farm.pass_time(5)
    farm.decide()
    assert reason() == ""


def test_a_paused_job_is_not_said_to_be_paused_twice() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    farm.submit("j", "a", 10)
    apply(farm.state, ev.JobPaused("j", farm.now, "paused on request"))
    assert summary(farm) == "It is paused on request."


def test_workers_are_explained_in_the_order_of_their_names() -> None:
    farm = Farm()
    for name in ("b", "c", "a"):
        farm.join(name, facts({"a": 1.0}))
    farm.submit("j", "a", 10)
    workers = explanation(farm.state, farm.state.jobs["j"], farm.now).workers
    assert [worker.worker_id for worker in workers] == ["a", "b", "c"]


def test_a_dry_run_says_that_nobody_who_is_here_could_render_the_job() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    farm.submit("j", "a", 10)

    def dry_run() -> tuple[str, bool]:
        view = prospective_job_view(farm.state, farm.state.jobs["j"].spec, "alice", 10, 10, farm.now)
        return view.reason, view.eta is not None

    assert dry_run() == ("", True)
    apply(farm.state, ev.WorkerLeft("w", farm.now, "it is asleep"))
    assert dry_run() == ("no worker that is here now can render it", False)


def test_a_dry_run_finds_the_one_worker_with_a_label_that_no_live_job_asks_for() -> None:
    farm = Farm()
    for name, room in (("a", "cellar"), ("b", "attic")):
        farm.join(name, facts({"a": 1.0}, room=room))
    spec = JobSpec("a", defaults=DEFAULTS, pin=Pin(worker_labels={"room": "attic"}))
    assert prospective_job_view(farm.state, spec, "alice", 10, 10, farm.now).reason == ""


def test_a_job_whose_images_are_all_with_a_suspended_worker_says_that_nobody_can_go_on() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    farm.submit("j", "a", 2)
    farm.decide()
    job = farm.state.jobs["j"]
    assert job.attempts
    assert live_job_view(farm.state, job, farm.now).reason == ""
    apply(farm.state, ev.WorkerSuspended("w", farm.now, "its user is there"))
    farm.pass_time(5)
    farm.decide()
    assert live_job_view(farm.state, job, farm.now).reason == "no worker that is here now can render it"
    assert summary(farm).startswith("It waits for w (suspended)")
    apply(farm.state, ev.WorkerSuspended("w", farm.now, ""))
    farm.pass_time(5)
    farm.decide()
    assert live_job_view(farm.state, job, farm.now).reason == ""
