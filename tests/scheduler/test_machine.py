"""Throws events at the scheduler in orders that nobody thought of, and holds it to the farm's promise.

A small model beside the scheduler keeps, for every image of every job, how often it was accepted as committed or as
failed. Workers answer late, twice, for the wrong attempt, or never.
"""

from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from farm.domain import AttemptKey, AttemptState, ComputeUnit, JobState, Measurement, WorkerState
from farm.errors import FarmError, StaleAttemptError
from farm.reports import AttemptReport, DeviceReport, ImageFailureReport
from farm.scheduler import events as ev
from farm.scheduler.blame import MAX_TRIES
from farm.scheduler.groups import DEPTH
from farm.scheduler.scheduler import decide, judge
from farm.scheduler.state import FarmState, LiveJob
from farm.scheduler.transitions import apply
from tests.builders import OFFER, attempt_started, image_committed, job_opened, worker_facts

WORKERS = ("w0", "w1", "w2")


class SchedulerMachine(RuleBasedStateMachine):
    """No order of events loses an image or commits one twice."""

    jobs = Bundle("jobs")
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.state = FarmState()
        self.now = 1.0
        self.journal: list[ev.Event] = []
        self.sizes: dict[str, int] = {}
        self.committed: dict[tuple[str, int], int] = {}
        self.failed: dict[tuple[str, int], int] = {}
        self.ended: dict[str, ev.JobEnded] = {}

    def do(self, event: ev.Event) -> None:
        apply(self.state, event)
        if isinstance(event, ev.DURABLE):
            self.journal.append(event)
        if isinstance(event, ev.ImageCommitted):
            key = (event.job_id, event.index)
            self.committed[key] = self.committed.get(key, 0) + 1
        if isinstance(event, ev.ImageFailed) and event.is_final:
            key = (event.job_id, event.index)
            self.failed[key] = self.failed.get(key, 0) + 1
        if isinstance(event, ev.JobEnded):
            self.ended[event.job_id] = event

    def attempt_of(self, event: ev.AttemptStarted) -> AttemptKey:
        return AttemptKey(event.job_id, event.number)

    @rule(
        target=jobs, count=st.integers(1, 12), submitter=st.sampled_from(["alice", "bob"]), priority=st.integers(0, 1)
    )
    def submit(self, count: int, submitter: str, priority: int) -> str:
        job_id = f"j{len(self.sizes)}"
        self.sizes[job_id] = count
        self.do(job_opened(job_id, count, self.now, submitter, priority))
        return job_id

    @rule(target=attempts)
    def decide_all(self) -> object:
        started = []
        for event in decide(self.state, self.now):
            self.do(event)
            if isinstance(event, ev.AttemptStarted):
                started.append(event)
        return multiple(*started)

    @rule(worker=st.sampled_from(WORKERS), keeps=st.booleans())
    def a_worker_joins(self, worker: str, keeps: bool) -> None:
        held = frozenset(self.state.workers[worker].attempts) if keeps and worker in self.state.workers else frozenset()
        self.do(ev.WorkerJoined(worker, self.now, worker_facts(), held))

    @rule(
        worker=st.sampled_from(WORKERS),
        kind=st.sampled_from(
            ["leave", "seen", "drain", "undrain", "suspend", "fit", "measured", "failed", "bare", "full"]
        ),
    )
    def something_happens_to_a_worker(self, worker: str, kind: str) -> None:
        events: dict[str, ev.Event] = {
            "leave": ev.WorkerLeft(worker, self.now, "gone"),
            "seen": ev.WorkerSeen(worker, self.now),
            "drain": ev.WorkerDrained(worker, self.now, now=False),
            "undrain": ev.WorkerUndrained(worker, self.now),
            "suspend": ev.WorkerSuspended(worker, self.now, "hot"),
            "fit": ev.WorkerSuspended(worker, self.now, ""),
            "measured": ev.VariantMeasured(worker, Measurement(OFFER.digest, ComputeUnit.CPU_ONLY, 0.1, 0.1, 1.0)),
            "bare": ev.WorkerChanged(worker, replace(worker_facts(), offers=())),
            "full": ev.WorkerChanged(worker, worker_facts()),
            "failed": ev.VariantMeasured(worker, Measurement(OFFER.digest, ComputeUnit.CPU_ONLY, failure="no")),
        }
        self.try_to(events[kind])

    @rule(seconds=st.sampled_from([0.1, 3.0, 7.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def the_coordinator_was_asleep(self) -> None:
        self.do(ev.ClockJumped(self.now))

    @rule(attempt=attempts, offset=st.integers(0, 12), worker=st.none() | st.sampled_from(WORKERS))
    def an_image_arrives(self, attempt: ev.AttemptStarted, offset: int, worker: str | None) -> None:
        index = attempt.first_index + offset
        self.try_to(image_committed(attempt.job_id, attempt.number, index, worker or attempt.worker_id, self.now))

    @rule(attempt=attempts, offset=st.integers(0, 12))
    def an_image_fails(self, attempt: ev.AttemptStarted, offset: int) -> None:
        report = ImageFailureReport(self.attempt_of(attempt), attempt.first_index + offset, "BAD", "it is bad")
        self.hear(attempt.worker_id, report)

    @rule(
        attempt=attempts,
        state=st.sampled_from([AttemptState.SUCCEEDED, AttemptState.ABANDONED, AttemptState.CANCELLED]),
        culprit=st.none() | st.integers(0, 12),
    )
    def an_attempt_ends(self, attempt: ev.AttemptStarted, state: AttemptState, culprit: int | None) -> None:
        index = None if culprit is None else attempt.first_index + culprit
        self.hear(attempt.worker_id, AttemptReport(self.attempt_of(attempt), state, "ended", index))

    @rule(worker=st.sampled_from(WORKERS), is_sound=st.booleans())
    def a_worker_does_all_that_it_holds_well_or_badly(self, worker: str, is_sound: bool) -> None:
        if worker not in self.state.workers:
            return
        for key in list(self.state.workers[worker].attempts):
            for index in sorted(self.state.attempt(key).task.remaining):
                if is_sound:
                    self.do(image_committed(key.job_id, key.number, index, worker, self.now))
                else:
                    self.hear(worker, ImageFailureReport(key, index, "GARBAGE", "it is noise"))
            self.hear(worker, AttemptReport(key, AttemptState.SUCCEEDED))

    @rule(target=attempts, attempt=attempts, worker=st.sampled_from(WORKERS))
    def a_running_task_is_duplicated(self, attempt: ev.AttemptStarted, worker: str) -> object:
        job = self.state.jobs.get(attempt.job_id)
        if job is None or attempt.number not in job.attempts or not job.is_runnable:
            return multiple()
        twin = attempt_started(
            attempt.job_id,
            job.next_attempt_number,
            worker,
            attempt.first_index,
            attempt.image_count,
            self.now,
            task_number=job.attempts[attempt.number].task.number,
        )
        self.try_to(twin)
        return twin

    @rule(job=jobs, kind=st.sampled_from(["pause", "resume", "cancel", "priority"]))
    def a_command_comes(self, job: str, kind: str) -> None:
        events: dict[str, ev.Event] = {
            "pause": ev.JobPaused(job, self.now, "by alice"),
            "resume": ev.JobResumed(job, self.now),
            "cancel": ev.JobCancelled(job, self.now, "by alice"),
            "priority": ev.JobPrioritized(job, self.now, 5),
        }
        self.try_to(events[kind])

    def try_to(self, event: ev.Event) -> None:
        before = repr(self.state)
        try:
            self.do(event)
        except FarmError:
            assert repr(self.state) == before, "an event that was refused left its mark"

    def hear(self, worker: str, report: AttemptReport | ImageFailureReport | DeviceReport) -> None:
        before = repr(self.state)
        try:
            for event in judge(self.state, self.now, worker, report):
                self.do(event)
        except StaleAttemptError:
            assert repr(self.state) == before, "a stale report left its mark"

    @invariant()
    def every_image_is_in_exactly_one_place(self) -> None:
        for job in self.state.jobs.values():
            places = sorted(list(job.pending) + [index for task in _tasks(job) for index in task])
            settled = [index for index in range(self.sizes[job.job_id]) if self.settled(job.job_id, index)]
            assert sorted(places + settled) == list(range(self.sizes[job.job_id]))

    def settled(self, job_id: str, index: int) -> int:
        return self.committed.get((job_id, index), 0) + self.failed.get((job_id, index), 0)

    @invariant()
    def no_image_is_settled_twice_and_the_counts_are_right(self) -> None:
        assert all(self.settled(*key) == 1 for key in {*self.committed, *self.failed})
        for job in self.state.jobs.values():
            assert job.succeeded_count == sum(1 for job_id, _ in self.committed if job_id == job.job_id)
            assert job.failed_count == sum(1 for job_id, _ in self.failed if job_id == job.job_id)

    @invariant()
    def the_indexes_say_what_the_jobs_and_workers_say(self) -> None:
        state = self.state
        assert set(state.runnable) == {job.job_id for job in state.jobs.values() if job.is_runnable}
        assert set(state.settled) == {job.job_id for job in state.jobs.values() if job.is_settled}
        vacant = [w for group in state.groups.values() for workers in group.vacant for w in workers]
        takers = [w for w in state.workers.values() if w.state is WorkerState.ACTIVE and len(w.attempts) < DEPTH]
        assert sorted(vacant) == sorted(worker.worker_id for worker in takers)
        for depth, keys in enumerate(state.vacant):
            assert set(keys) == {key for key, group in state.groups.items() if group.vacant[depth]}
        active = [worker for worker in state.workers.values() if worker.state is WorkerState.ACTIVE]
        assert sum(group.count for group in state.groups.values()) == len(active)
        for kind in state.kinds.values():
            jobs = [job for job in state.jobs.values() if job.kind is kind]
            assert set(kind.jobs) == {job.job_id for job in jobs}
            assert kind.waiting == sum(len(job.pending) for job in jobs if job.is_runnable)
            assert kind.unsettled == sum(job.unsettled for job in jobs)
        assert {name: account.job_count for name, account in state.accounts.items()} == dict(
            Counter(job.submitter for job in state.jobs.values())
        )
        live = {attempt.key for job in state.jobs.values() for attempt in job.attempts.values()}
        assert sorted(live) == sorted(key for worker in state.workers.values() for key in worker.attempts)
        assert set(state.lost) | set(state.beaten) <= live
        assert list(state.heard.values()) == sorted(state.heard.values())
        self.what_failed_is_known_and_bounded()

    def what_failed_is_known_and_bounded(self) -> None:
        state = self.state
        for job in state.jobs.values():
            assert all(max(trouble.strikes, trouble.crashes) < MAX_TRIES for trouble in job.troubles.values())
            assert not [index for index in job.troubles if self.settled(job.job_id, index)]
            for worker_id, standing in job.standings.items():
                assert state.workers[worker_id].failing[job.job_id] is standing
                held = [key for key in state.workers[worker_id].attempts if key.job_id == job.job_id]
                assert not standing.aside or set(held) <= set(state.lost), "a worker that is set aside renders on"
        assert sum(len(worker.failing) for worker in state.workers.values()) == sum(
            len(job.standings) for job in state.jobs.values()
        )
        assert all(not state.jobs[job_id].standings[worker_id].aside for job_id, worker_id in state.culprits)

    def a_replay_of_the_journal_gives_the_same_jobs(self) -> None:
        replayed = FarmState()
        for event in self.journal:
            apply(replayed, event)
        assert {job_id: _durable(job) for job_id, job in replayed.jobs.items()} == {
            job_id: _durable(job) for job_id, job in self.state.jobs.items()
        }

    def teardown(self) -> None:
        """Whatever happened: a replay gives the same jobs, and one good worker and some time finish them all."""
        self.a_replay_of_the_journal_gives_the_same_jobs()
        for job_id in list(self.state.jobs):
            self.try_to(ev.JobResumed(job_id, self.now))
        for worker in WORKERS:
            self.do(ev.WorkerDrained(worker, self.now, now=False))
        self.do(ev.WorkerJoined("good", self.now, worker_facts()))
        for _ in range(1000):
            self.now += 1.0
            self.do(ev.WorkerSeen("good", self.now))
            for event in decide(self.state, self.now):
                self.do(event)
            if not self.state.jobs:
                break
            for key in list(self.state.workers["good"].attempts):
                self.finish(key)
        assert not self.state.jobs, "a job never ended"
        for job_id, end in self.ended.items():
            settled = sum(self.settled(job_id, index) for index in range(self.sizes[job_id]))
            assert settled == self.sizes[job_id] or end.state is JobState.CANCELLED

    def finish(self, key: AttemptKey) -> None:
        task = self.state.attempt(key).task
        for index in sorted(task.remaining):
            self.do(image_committed(key.job_id, key.number, index, "good", self.now))
        self.hear("good", AttemptReport(key, AttemptState.SUCCEEDED))


def _tasks(job: LiveJob) -> list[set[int]]:
    return list({id(a.task): a.task.remaining for a in job.attempts.values()}.values())


def _durable(job: LiveJob) -> object:
    tasks = {number: (sorted(a.task.remaining), a.started) for number, a in job.attempts.items()}
    return (
        job.state,
        job.pending,
        job.succeeded_count,
        job.failed_count,
        job.troubles,
        job.standings,
        job.losses,
        tasks,
    )


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=300, stateful_step_count=40)


def test_a_worker_holds_no_more_attempts_than_its_depth() -> None:
    state = FarmState()
    apply(state, job_opened(image_count=100))
    apply(state, ev.WorkerJoined("w", 0.0, worker_facts()))
    for event in decide(state, 0.0):
        apply(state, event)
    assert len(state.workers["w"].attempts) == DEPTH
