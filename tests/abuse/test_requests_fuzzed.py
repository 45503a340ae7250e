"""Requests of any content and in any order, against a farm that listens: taken or refused, and never an accident."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from farm.api.paging import AfterName, write_token
from farm.v1 import (
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    model_service_pb2,
    worker_service_pb2,
    worker_service_pb2_grpc,
)
from tests.abuse.fuzzing import cases, fuzz
from tests.abuse.messages import messages
from tests.running_farm import local_channel, running_farm
from tests.waiting import PATIENCE

METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for module in (job_service_pb2, worker_service_pb2, model_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
Call = tuple[MethodDescriptor, Sequence[Message]]

RECENT_JOBS = [f"jobs/recent-{age}" for age in range(3)]
"""Stand for the names of jobs that were accepted a moment ago, the last one first."""

NAMES = {"JobService": RECENT_JOBS, "WorkerService": ["workers/local"], "ModelService": ["models/shapes"]}
SENSIBLE: dict[str, Sequence[Any]] = {
    "parent": RECENT_JOBS,
    "page_token": [None],
    "page_size": [None, 1, 3],
    "states": [1, 2, 5, 6, 7],
    "model": [None, "shapes", "models/shapes"],
    "priority": [None, 7],
    "request_id": [None],
    "validate_only": [None],
    "prompt": ["a red circle"],
    "seed": [None, 7],
    "width": [None, 64],
    "height": [None, 64],
    "steps": [1, 20],
    "guidance_scale": [None, 7.5],
    "strength": [None],
    "sampler": [None, "ddim", "euler"],
    "init_image": [None],
    "chip_class": [None, 3],
    "attention": [None, 1],
    "model_digest": [None],
    "output": [None],
    "entry_count": [None],
    "indices": [0, 1, 2],
}

EXPECTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}
ALSO_EXPECTED = {
    "WatchJob": {grpc.StatusCode.DEADLINE_EXCEEDED},  # a paused job does not end
}
WATCH_SECONDS = 0.05
ANSWERS = 50
"""Messages of a stream that are read at most."""


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    assert isinstance(error, grpc.Call)
    return error.code()


@dataclass(slots=True)
class Caller:
    """Makes any call of the API, and keeps the names of the jobs that came of it."""

    channel: grpc.Channel
    accepted: list[str] = field(default_factory=list)

    def call(self, call: Call) -> grpc.StatusCode:
        """Makes a call and gives the code that it ends with."""
        method, requests = call
        path = f"/{method.containing_service.full_name}/{method.name}"
        codecs = GetMessageClass(method.input_type).SerializeToString, GetMessageClass(method.output_type).FromString
        timeout = WATCH_SECONDS if method.name == "WatchJob" else PATIENCE
        named = [self.named(request) for request in requests]
        try:
            if method.client_streaming:
                job: Any = self.channel.stream_unary(path, *codecs)(iter(named), timeout=timeout)
                self.accepted.append(job.name or "jobs/only-checked")
            elif method.server_streaming:
                stream = self.channel.unary_stream(path, *codecs)(named[0], timeout=timeout)
                list(islice(stream, ANSWERS))
                stream.cancel()
            else:
                self.channel.unary_unary(path, *codecs)(named[0], timeout=timeout)
        except grpc.RpcError as error:
            return code_of(error)
        return grpc.StatusCode.OK

    def named(self, request: Any) -> Any:
        """The request with real jobs in the place of recent ones."""
        for one in ("name", "parent"):
            name = getattr(request, one, None)
            if name in RECENT_JOBS:
                job = ["jobs/none", "jobs/none", "jobs/none", *self.accepted][-1 - RECENT_JOBS.index(name)]
                request = type(request).FromString(request.SerializeToString())
                setattr(request, one, job)
        return request


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """Calls a farm, which must still render after all that was done to it."""
    with (
        running_farm(tmp_path_factory.mktemp("farm") / "state") as farm,
        local_channel(farm) as channel,
    ):
        yield Caller(channel)
        check_that_it_renders(channel)


def check_that_it_renders(channel: grpc.Channel) -> None:
    workers = worker_service_pb2_grpc.WorkerServiceStub(channel)
    workers.ResumeWorker(worker_service_pb2.ResumeWorkerRequest(name="workers/local"), timeout=PATIENCE)
    jobs = job_service_pb2_grpc.JobServiceStub(channel)
    spec = job_pb2.JobSpec(defaults=job_pb2.ImageSpec(prompt="a red circle"), priority=100)
    job = jobs.SubmitJob(iter([job_service_pb2.SubmitJobRequest(spec=spec)]), timeout=PATIENCE)
    events = jobs.WatchJob(job_service_pb2.WatchJobRequest(name=job.name), timeout=PATIENCE)
    assert [event.job.state for event in events if event.HasField("job")][-1] == job_pb2.JOB_STATE_SUCCEEDED


def submissions(sense: int) -> st.SearchStrategy[Sequence[Message]]:
    """Draws submissions whose messages come in their order."""
    kind = job_service_pb2.SubmitJobRequest
    specs = st.builds(kind, spec=messages(job_pb2.JobSpec.DESCRIPTOR, SENSIBLE, sense))
    entries = st.builds(kind, entries=messages(job_pb2.Entries.DESCRIPTOR, SENSIBLE, sense))
    return st.tuples(specs, entries)


def calls(method: MethodDescriptor, sense: int) -> st.SearchStrategy[Call]:
    """Draws calls of a method; `sense` as for `messages`."""
    if method.client_streaming:
        return st.tuples(st.just(method), submissions(sense))
    sensible = SENSIBLE | {"name": NAMES[method.containing_service.name]}
    return st.tuples(st.just(method), st.tuples(messages(method.input_type, sensible, sense)))


CALLS_OF_ANY_CONTENT = st.one_of(
    *(calls(method, 3) for method in METHODS.values()),
    st.tuples(
        st.just(METHODS["SubmitJob"]), st.lists(messages(METHODS["SubmitJob"].input_type, SENSIBLE, 6), max_size=4)
    ),
)
CALLS_IN_ANY_ORDER = st.lists(st.one_of(*(calls(method, 0) for method in METHODS.values())), max_size=12)
LISTS = st.one_of(*(calls(method, 0) for name, method in METHODS.items() if name.startswith("List")))
LEAVES = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=5)
PLACES = st.fixed_dictionaries({}, optional=dict.fromkeys(("create_time", "job_id", "index", "name"), LEAVES))


def check(caller: Caller, call: Call) -> None:
    assert caller.call(call) in EXPECTED | ALSO_EXPECTED.get(call[0].name, set())


@cases(quick=300, slow=40_000)
def test_a_call_of_any_content_is_answered_or_refused(caller: Caller, count: int) -> None:
    def holds(call: Call) -> None:
        check(caller, call)

    fuzz(count, holds, CALLS_OF_ANY_CONTENT)


@cases(quick=60, slow=4_000)
def test_calls_in_any_order_are_answered_or_refused(caller: Caller, count: int) -> None:
    def holds(submission: Sequence[Message], sequence: list[Call]) -> None:
        for call in [(METHODS["SubmitJob"], submission), *sequence]:
            check(caller, call)

    fuzz(count, holds, submissions(0), CALLS_IN_ANY_ORDER)


@cases(quick=100, slow=5_000)
def test_a_forged_page_token_gives_a_page_or_is_refused(caller: Caller, count: int) -> None:
    def holds(call: Call, place: Any) -> None:
        method, (request,) = call
        named = caller.named(request)
        fingerprint, _ = json.loads(urlsafe_b64decode(write_token(named, AfterName(""))))
        named.page_token = urlsafe_b64encode(json.dumps([fingerprint, place]).encode())
        check(caller, (method, [named]))

    fuzz(count, holds, LISTS, PLACES | LEAVES)
