"""The API as a client of any language sees it: real gRPC, coordinator and journal; a renderer of squares."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from farm.api.requests import submission
from farm.errors import AddressError
from farm.v1 import (
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)
from tests.running_farm import RunningFarm, local_channel, running_farm
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    with running_farm(tmp_path_factory.mktemp("farm") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def channel(farm: RunningFarm) -> Iterator[grpc.Channel]:
    with local_channel(farm) as opened:
        yield opened


@pytest.fixture(scope="module")
def jobs(channel: grpc.Channel) -> job_service_pb2_grpc.JobServiceStub:
    return job_service_pb2_grpc.JobServiceStub(channel)


def submit(
    jobs: job_service_pb2_grpc.JobServiceStub,
    entries: Sequence[str],
    *,
    request_id: str = "",
    validate_only: bool = False,
    **spec: Any,
) -> job_pb2.Job:
    messages = submission(job_pb2.JobSpec(**spec), entries, request_id, validate_only)
    return jobs.SubmitJob(messages, timeout=PATIENCE)


def finish(jobs: job_service_pb2_grpc.JobServiceStub, job: job_pb2.Job) -> job_pb2.Job:
    """Waits until the job has ended."""
    for event in jobs.WatchJob(job_service_pb2.WatchJobRequest(name=job.name), timeout=PATIENCE):
        job = event.job if event.HasField("job") else job
    return job


def refused(error: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """The code of an error, its reason, and the fields that are wrong."""
    assert isinstance(error.value, grpc.Call)
    status = rpc_status.from_call(error.value)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
    violations = {violation.field: violation.description for violation in bad_request.field_violations}
    return error.value.code(), info.reason, violations


def test_a_batch_goes_in_and_its_images_come_out(jobs: job_service_pb2_grpc.JobServiceStub) -> None:
    accepted = submit(jobs, ["a red circle", "a blue star"], display_name="two", labels={"who": "me"})
    assert accepted.name.startswith("jobs/")
    assert (accepted.display_name, accepted.image_count) == ("two", 2)
    assert dict(accepted.spec.labels) == {"who": "me"}
    job = finish(jobs, accepted)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert (job.succeeded_count, job.failed_count) == (2, 0)
    assert job.create_time.seconds <= job.start_time.seconds <= job.end_time.seconds
    images = jobs.ListImages(job_service_pb2.ListImagesRequest(parent=job.name)).images
    assert [(image.index, image.spec.prompt) for image in images] == [(0, "a red circle"), (1, "a blue star")]
    assert images[1].seed == (images[0].seed + 1) % 2**32
    assert images[0].name == f"{job.name}/images/0"
    assert images[0].worker == "workers/local"
    assert images[0].model_digest.startswith("sha256:")


def test_the_same_request_id_gives_the_same_job_and_another_batch_under_it_is_refused(
    jobs: job_service_pb2_grpc.JobServiceStub,
) -> None:
    first = submit(jobs, ["a", "b"], request_id="1b4e28ba")
    assert submit(jobs, ["a", "b"], request_id="1b4e28ba").name == first.name
    with pytest.raises(grpc.RpcError) as error:
        submit(jobs, ["a", "c"], request_id="1b4e28ba")
    assert refused(error)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


def test_a_submission_that_is_only_to_be_checked_is_checked_and_leaves_no_job(
    jobs: job_service_pb2_grpc.JobServiceStub,
) -> None:
    before = len(jobs.ListJobs(job_service_pb2.ListJobsRequest(page_size=1000)).jobs)
    would_be = submit(jobs, ["a", "b", "c"], validate_only=True)
    assert (would_be.name, would_be.image_count, would_be.spec.model) == ("", 3, "models/shapes")
    assert (would_be.spec.defaults.width, would_be.spec.defaults.sampler) == (64, "dpmpp-2m")
    with pytest.raises(grpc.RpcError):
        submit(jobs, ["a"], validate_only=True, defaults=job_pb2.ImageSpec(steps=0))
    assert len(jobs.ListJobs(job_service_pb2.ListJobsRequest(page_size=1000)).jobs) == before


def test_a_submission_that_is_only_to_be_checked_tells_how_long_it_would_take_once_that_is_known(
    tmp_path: Path,
) -> None:
    with (
        running_farm(tmp_path / "state", seconds_per_image=0.1) as running,
        local_channel(running) as channel,
    ):
        jobs = job_service_pb2_grpc.JobServiceStub(channel)
        assert not submit(jobs, ["a"], validate_only=True).HasField("eta")
        finish(jobs, submit(jobs, ["a"] * 5))
        seconds = []
        for count in (10, 100):
            would_be = submit(jobs, ["a"] * count, validate_only=True)
            seconds.append(would_be.eta.likely.ToNanoseconds() / 1e9 - would_be.create_time.ToNanoseconds() / 1e9)
        assert 0.5 < seconds[0] < 3
        assert seconds[1] == pytest.approx(10 * seconds[0], rel=0.1)


def test_wrong_fields_are_named_all_at_once_across_messages(jobs: job_service_pb2_grpc.JobServiceStub) -> None:
    request = job_service_pb2.SubmitJobRequest
    wrong = job_pb2.ImageSpec(prompt="a", steps=0, guidance_scale=float("nan"))
    messages = [
        request(spec=job_pb2.JobSpec()),
        request(entries=job_pb2.Entries(entries=[job_pb2.ImageSpec(prompt="fine"), wrong])),
        request(entries=job_pb2.Entries(entries=[job_pb2.ImageSpec()])),
    ]
    with pytest.raises(grpc.RpcError) as error:
        jobs.SubmitJob(iter(messages), timeout=PATIENCE)
    code, reason, violations = refused(error)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert set(violations) == {"entries[1].steps", "entries[1].guidance_scale", "entries[2].prompt"}


SPEC = job_service_pb2.SubmitJobRequest(spec=job_pb2.JobSpec())
ENTRIES = job_service_pb2.SubmitJobRequest(entries=job_pb2.Entries(entries=[job_pb2.ImageSpec(prompt="a")]))
TOO_MANY = job_service_pb2.SubmitJobRequest(entries=job_pb2.Entries(entries=[job_pb2.ImageSpec(prompt="a")] * 1001))
OUTPUT = job_service_pb2.SubmitJobRequest(spec=job_pb2.JobSpec(output="s3://bucket"))
EMPTY = job_service_pb2.SubmitJobRequest(spec=job_pb2.JobSpec(entry_count=0))
NOT_WHOLE = job_service_pb2.SubmitJobRequest(spec=job_pb2.JobSpec(entry_count=2))


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "spec"),
        ([ENTRIES], "spec"),
        ([SPEC, SPEC], "entries"),
        ([SPEC, job_service_pb2.SubmitJobRequest()], "entries"),
        ([SPEC, TOO_MANY], "entries"),
        ([OUTPUT, ENTRIES], "spec.output"),
        ([NOT_WHOLE, ENTRIES], "spec.entry_count"),
        ([EMPTY], "spec.entry_count"),
    ],
)
def test_a_submission_of_another_shape_is_refused(
    jobs: job_service_pb2_grpc.JobServiceStub, messages: list[job_service_pb2.SubmitJobRequest], field: str
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        jobs.SubmitJob(iter(messages), timeout=PATIENCE)
    code, _, violations = refused(error)
    assert (code, list(violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


def test_what_is_not_there_is_not_found_by_a_reason_of_its_own(
    channel: grpc.Channel, jobs: job_service_pb2_grpc.JobServiceStub
) -> None:
    workers = worker_service_pb2_grpc.WorkerServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    calls: list[tuple[Any, Any, str]] = [
        (jobs.GetJob, job_service_pb2.GetJobRequest(name="jobs/x"), "JOB_NOT_FOUND"),
        (jobs.CancelJob, job_service_pb2.CancelJobRequest(name="jobs/x"), "JOB_NOT_FOUND"),
        (jobs.ListImages, job_service_pb2.ListImagesRequest(parent="jobs/x"), "JOB_NOT_FOUND"),
        (lambda request: list(jobs.WatchJob(request)), job_service_pb2.WatchJobRequest(name="jobs/x"), "JOB_NOT_FOUND"),
        (
            lambda request: list(jobs.DownloadImages(request)),
            job_service_pb2.DownloadImagesRequest(parent="jobs/x"),
            "JOB_NOT_FOUND",
        ),
        (workers.GetWorker, worker_service_pb2.GetWorkerRequest(name="workers/x"), "WORKER_NOT_FOUND"),
        (models.GetModel, model_service_pb2.GetModelRequest(name="models/x"), "MODEL_NOT_FOUND"),
    ]
    for call, request, reason in calls:
        with pytest.raises(grpc.RpcError) as error:
            call(request)
        assert refused(error)[:2] == (grpc.StatusCode.NOT_FOUND, reason)


def test_a_job_that_has_ended_cannot_be_paused_or_cancelled_and_says_so(
    jobs: job_service_pb2_grpc.JobServiceStub,
) -> None:
    job = finish(jobs, submit(jobs, ["a"]))
    calls: list[tuple[Any, Any]] = [
        (jobs.PauseJob, job_service_pb2.PauseJobRequest(name=job.name)),
        (jobs.CancelJob, job_service_pb2.CancelJobRequest(name=job.name)),
        (jobs.RetryJob, job_service_pb2.RetryJobRequest(name=job.name)),
    ]
    for call, request in calls:
        with pytest.raises(grpc.RpcError) as error:
            call(request)
        assert refused(error)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")


def test_a_deleted_job_is_gone(jobs: job_service_pb2_grpc.JobServiceStub) -> None:
    job = finish(jobs, submit(jobs, ["a"]))
    jobs.DeleteJob(job_service_pb2.DeleteJobRequest(name=job.name))
    with pytest.raises(grpc.RpcError) as error:
        jobs.GetJob(job_service_pb2.GetJobRequest(name=job.name))
    assert refused(error)[0] == grpc.StatusCode.NOT_FOUND


def test_pages_hold_every_job_once_and_newest_first(jobs: job_service_pb2_grpc.JobServiceStub) -> None:
    names = [submit(jobs, ["a"], display_name="paged").name for _ in range(5)]
    request = job_service_pb2.ListJobsRequest(page_size=2)
    found: list[str] = []
    while True:
        page = jobs.ListJobs(request)
        assert len(page.jobs) <= 2
        found += [job.name for job in page.jobs]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert len(set(found)) == len(found)
    assert found[:5] == names[::-1]


def test_pages_hold_every_image_once_and_by_index(jobs: job_service_pb2_grpc.JobServiceStub) -> None:
    job = finish(jobs, submit(jobs, ["a"] * 7))
    request = job_service_pb2.ListImagesRequest(parent=job.name, page_size=3)
    pages: list[list[int]] = []
    while not pages or request.page_token:
        page = jobs.ListImages(request)
        pages.append([image.index for image in page.images])
        request.page_token = page.next_page_token
    assert pages == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_page_token_is_good_for_its_own_list_only(jobs: job_service_pb2_grpc.JobServiceStub) -> None:
    job = finish(jobs, submit(jobs, ["a"] * 3))
    other = finish(jobs, submit(jobs, ["a"] * 3))
    token = jobs.ListImages(job_service_pb2.ListImagesRequest(parent=job.name, page_size=1)).next_page_token
    for request in (
        job_service_pb2.ListImagesRequest(parent=other.name, page_token=token),
        job_service_pb2.ListImagesRequest(parent=job.name, page_token=token, states=[job_pb2.IMAGE_STATE_FAILED]),
        job_service_pb2.ListImagesRequest(parent=job.name, page_token="garbage"),
        job_service_pb2.ListImagesRequest(parent=job.name, page_token="bnVsbA=="),
    ):
        with pytest.raises(grpc.RpcError) as error:
            jobs.ListImages(request)
        assert list(refused(error)[2]) == ["page_token"]
    rest = jobs.ListImages(job_service_pb2.ListImagesRequest(parent=job.name, page_size=50, page_token=token))
    assert [image.index for image in rest.images] == [1, 2]


def test_a_negative_page_size_is_refused(jobs: job_service_pb2_grpc.JobServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as error:
        jobs.ListJobs(job_service_pb2.ListJobsRequest(page_size=-1))
    assert list(refused(error)[2]) == ["page_size"]


def test_a_download_gives_the_committed_bytes_in_chunks_that_say_where_they_belong(
    jobs: job_service_pb2_grpc.JobServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.api.job_service.CHUNK_BYTES", 100)
    job = finish(jobs, submit(jobs, ["a", "b", "c"]))
    files: dict[int, bytes] = {}
    current = job_pb2.Image()
    for chunk in jobs.DownloadImages(job_service_pb2.DownloadImagesRequest(parent=job.name, after_index=0)):
        current = chunk.image if chunk.HasField("image") else current
        assert chunk.offset == len(files.get(current.index, b""))
        assert 0 < len(chunk.data) <= 100
        files[current.index] = files.get(current.index, b"") + chunk.data
    images = {
        image.index: image for image in jobs.ListImages(job_service_pb2.ListImagesRequest(parent=job.name)).images
    }
    assert set(files) == {1, 2}
    assert all(hashlib.sha256(png).hexdigest() == images[index].sha256 for index, png in files.items())


def test_a_download_of_some_images_leaves_out_the_others_and_those_that_are_not_there(
    jobs: job_service_pb2_grpc.JobServiceStub,
) -> None:
    job = finish(jobs, submit(jobs, ["a"] * 600))

    def downloaded(**arguments: Any) -> list[int]:
        request = job_service_pb2.DownloadImagesRequest(parent=job.name, **arguments)
        return [chunk.image.index for chunk in jobs.DownloadImages(request) if chunk.HasField("image")]

    assert downloaded(indices=[550, 7, 7, 3, 5000]) == [3, 7, 550]
    assert downloaded(indices=[3, 7, 550], after_index=3) == [7, 550]
    assert downloaded(indices=[3], after_index=3) == []
    assert downloaded(after_index=590) == list(range(591, 600))
    assert downloaded() == list(range(600))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"not the image")])
def test_a_file_that_is_not_what_was_committed_is_data_loss_and_none_of_it_is_sent(
    farm: RunningFarm, jobs: job_service_pb2_grpc.JobServiceStub, damage: Callable[[Path], object]
) -> None:
    job = finish(jobs, submit(jobs, ["a", "b"]))
    _, second = sorted(farm.state.glob(f"**/{job.name.removeprefix('jobs/')}/**/*.png"))
    damage(second)
    received: list[int] = []
    chunks = jobs.DownloadImages(job_service_pb2.DownloadImagesRequest(parent=job.name))
    with pytest.raises(grpc.RpcError) as error:
        received.extend(chunk.image.index for chunk in chunks)
    assert refused(error)[:2] == (grpc.StatusCode.DATA_LOSS, "ARTIFACT_DAMAGED")
    assert received == [0]


def test_an_error_that_nobody_expected_is_internal_with_an_id_of_the_log_and_no_traceback(
    farm: RunningFarm,
    jobs: job_service_pb2_grpc.JobServiceStub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(job_id: str) -> None:
        raise ZeroDivisionError(f"secret of {job_id}")

    monkeypatch.setattr(farm.coordinator, "job", broken)
    with pytest.raises(grpc.RpcError) as error:
        jobs.GetJob(job_service_pb2.GetJobRequest(name="jobs/x"))
    assert isinstance(error.value, grpc.Call)
    assert error.value.code() == grpc.StatusCode.INTERNAL
    message = error.value.details() or ""
    assert "secret" not in message
    assert "Traceback" not in message
    log_id = message.partition("under the id ")[2].partition(";")[0]
    assert log_id
    assert f"log_id={log_id}" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_workers_can_be_drained_and_resumed(channel: grpc.Channel) -> None:
    workers = worker_service_pb2_grpc.WorkerServiceStub(channel)
    (worker,) = workers.ListWorkers(worker_service_pb2.ListWorkersRequest()).workers
    assert worker.name == "workers/local"
    drained = workers.DrainWorker(worker_service_pb2.DrainWorkerRequest(name=worker.name))
    resumed = workers.ResumeWorker(worker_service_pb2.ResumeWorkerRequest(name=worker.name))
    assert (drained.state, resumed.state) == (2, 1)


def test_models_are_listed_with_sizes_defaults_and_samplers(channel: grpc.Channel) -> None:
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    (model,) = models.ListModels(model_service_pb2.ListModelsRequest()).models
    assert model == models.GetModel(model_service_pb2.GetModelRequest(name=model.name))
    assert {(variant.width, variant.height) for variant in model.variants} == {(64, 64)}
    assert model.defaults.steps > 0
    assert "dpmpp-2m" in model.samplers


def test_health_and_reflection_answer(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "farm.v1.JobService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (listed,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
    names = {service.name for service in listed.list_services_response.service}
    assert {"farm.v1.JobService", "farm.v1.WorkerService", "farm.v1.ModelService", "grpc.health.v1.Health"} <= names


def test_a_second_farm_on_the_same_port_is_refused_and_told_what_is_there(farm: RunningFarm, tmp_path: Path) -> None:
    with (
        pytest.raises(AddressError, match=r"Something listens on .* already"),
        running_farm(tmp_path / "state", address=farm.address),
    ):
        pass


def test_an_address_that_the_system_does_not_give_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(AddressError, match="does not let the farm listen"),
        running_farm(tmp_path / "state", address=f"unix:{tmp_path}/no/such/folder/socket"),
    ):
        pass


def test_a_unix_socket_serves_as_well_as_a_port(tmp_path: Path) -> None:
    with (
        running_farm(tmp_path / "state", address=f"unix:{tmp_path}/farm.sock") as running,
        local_channel(running) as channel,
    ):
        jobs = job_service_pb2_grpc.JobServiceStub(channel)
        assert finish(jobs, submit(jobs, ["a"])).state == job_pb2.JOB_STATE_SUCCEEDED
