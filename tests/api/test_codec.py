"""The codec: what is sent is what was meant."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import domain
from farm.api import codec
from farm.api.json_form import json_form
from farm.api.requests import Assembler, image_spec_message, submission
from farm.coordinator.views import ProgressView, WatchEvent, WorkerView
from farm.domain import ImageSpec, ImageState, JobState, Pin
from farm.errors import InvalidRequestError
from farm.reports import Stage
from farm.v1 import job_pb2, job_service_pb2, model_pb2, worker_pb2
from tests.builders import worker_facts

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
IMAGE_SPECS = st.builds(
    ImageSpec,
    prompt=st.none() | TEXT,
    negative_prompt=st.none() | TEXT,
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    width=st.none() | st.integers(-(2**31), 2**31 - 1),
    height=st.none() | st.integers(-(2**31), 2**31 - 1),
    steps=st.none() | st.integers(-(2**31), 2**31 - 1),
    guidance_scale=st.none() | st.floats(allow_nan=False),
    sampler=st.none() | TEXT,
    strength=st.none() | st.floats(allow_nan=False),
    init_image=st.none() | st.binary(),
)
PINS = st.builds(
    Pin,
    chip_class=st.none() | st.sampled_from(domain.ChipClass),
    compute_unit=st.none() | st.sampled_from(domain.ComputeUnit),
    attention=st.none() | st.sampled_from(domain.AttentionVariant),
    runtime=st.none() | TEXT.filter(bool),
    model_digest=st.none() | TEXT.filter(bool),
    worker_labels=st.dictionaries(TEXT, TEXT),
)


@given(IMAGE_SPECS)
def test_an_image_spec_arrives_as_it_was_sent_and_what_was_left_open_stays_open(spec: ImageSpec) -> None:
    """Rules out a codec that takes 0, "" or false for unset."""
    wire = image_spec_message(spec, "spec").SerializeToString()
    assert codec.decode_image_spec(job_pb2.ImageSpec.FromString(wire)) == spec


@given(PINS)
def test_a_pin_arrives_as_it_was_sent(pin: Pin) -> None:
    assert codec.decode_pin(codec.encode_pin(pin)) == pin


@pytest.mark.parametrize(
    ("numbers", "wire"),
    [
        (codec.JOB_STATES, job_pb2.JobState),
        (codec.IMAGE_STATES, job_pb2.ImageState),
        (codec.ATTEMPT_STATES, job_pb2.AttemptState),
        (codec.WORKER_STATES, worker_pb2.WorkerState),
        (codec.CHIP_CLASSES, job_pb2.ChipClass),
        (codec.COMPUTE_UNITS, job_pb2.ComputeUnit),
        (codec.ATTENTIONS, job_pb2.Attention),
    ],
)
def test_every_member_of_an_enum_has_its_own_number_and_every_number_its_member(
    numbers: dict[Any, int], wire: Any
) -> None:
    assert sorted([0, *numbers.values()]) == sorted(wire.values())
    for member, number in numbers.items():
        assert codec.member(numbers, number, "field") is member


def test_a_number_that_no_member_has_is_refused_by_its_field() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        codec.members(codec.JOB_STATES, [2, 99], "states")
    assert list(refused.value.violations) == ["states[1]"]


def test_a_filter_that_names_nothing_takes_everything() -> None:
    assert codec.members(codec.IMAGE_STATES, [], "states") == frozenset(ImageState)
    assert codec.members(codec.JOB_STATES, [codec.JOB_STATES[JobState.PAUSED]], "states") == {JobState.PAUSED}


@pytest.mark.parametrize("name", ["", "jobs", "jobs/", "workers/a", "jobs/a/images/1", "/jobs/a"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=r'it must have the form "jobs/\.\.\."'):
        codec.resource_id(name, "jobs")


def test_a_model_may_be_named_with_or_without_its_collection() -> None:
    names = {codec.decode_job_spec(job_pb2.JobSpec(model=name)).model for name in ("shapes", "models/shapes")}
    assert names == {"shapes"}


@given(st.lists(TEXT, max_size=2500))
def test_a_submission_is_its_spec_and_then_the_entries_in_messages_of_up_to_a_thousand(prompts: list[str]) -> None:
    first, *rest = submission(job_pb2.JobSpec(model="m"), prompts, "id", validate_only=True)
    assert (first.spec.model, first.request_id, first.validate_only) == ("m", "id", True)
    assert [entry.prompt for message in rest for entry in message.entries.entries] == prompts
    assert all(len(message.entries.entries) == 1000 for message in rest[:-1])


def test_very_long_entries_are_sent_in_messages_that_a_server_takes() -> None:
    messages = list(submission(job_pb2.JobSpec(), ["x" * 100_000] * 200, "", validate_only=False))
    assert max(message.ByteSize() for message in messages) < 5_000_000
    assert sum(len(message.entries.entries) for message in messages) == 200


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (ImageSpec(prompt="a", steps=2**40), "steps"),
        (ImageSpec(prompt="\ud800"), "prompt"),
        (ImageSpec(prompt="a", seed="seven"), "seed"),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_does_not_fit_the_wire_is_named_by_its_entry(entry: ImageSpec, field: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        list(submission(job_pb2.JobSpec(), ["fine", entry], "", validate_only=False))
    assert list(refused.value.violations) == [f"entries[1].{field}"]


def test_an_image_is_put_together_from_its_chunks_and_one_that_broke_off_is_given_once() -> None:
    chunk = job_service_pb2.ImageChunk
    first, second = job_pb2.Image(index=0, size_bytes=4), job_pb2.Image(index=1, size_bytes=2)
    chunks = [
        chunk(image=first, data=b"ab"),
        chunk(image=first, data=b"ab"),  # the connection broke, and the download began again
        chunk(data=b"cd", offset=2),
        chunk(image=second, data=b"ef"),
    ]
    assembler = Assembler()
    whole = [found for part in chunks if (found := assembler.add(part))]
    assert [(image.index, png) for image, png in whole] == [(0, b"abcd"), (1, b"ef")]


@pytest.mark.parametrize("index", [None, 0, 7])
def test_progress_names_an_image_only_where_it_serves_one(index: int | None) -> None:
    """Rules out a client that takes the loading of a model for progress of image 0."""
    progress = ProgressView("j", 1, "w", index, Stage.LOAD, 0, 0)
    message = codec.encode_event(WatchEvent(5, 0.0, progress)).progress
    assert (message.index if message.HasField("index") else None) == index


def test_plain_data_has_the_names_of_the_api_and_whole_numbers_as_numbers() -> None:
    image = job_pb2.Image(index=3, seed=2**32 - 1, spec=job_pb2.ImageSpec(seed=5), size_bytes=2**40)
    plain = json_form(image)
    assert (plain["index"], plain["seed"], plain["spec"], plain["size_bytes"]) == (3, 2**32 - 1, {"seed": 5}, 2**40)
    job = json_form(job_pb2.Job(spec=job_pb2.JobSpec(labels={"key": "7"})))
    assert (job["failed_count"], job["spec"]["labels"]) == (0, {"key": "7"})
    variants = json_form(model_pb2.Model(variants=[model_pb2.ModelVariant(size_bytes=9)]))["variants"]
    assert variants[0]["size_bytes"] == 9


def test_a_worker_tells_what_it_measured_and_leaves_out_what_it_did_not_time() -> None:
    unit = domain.ComputeUnit.CPU_AND_NE
    timed = domain.Measurement("sha256:1", unit, 0.4, 0.6, 15.0, 100.0, 2 << 30, 0.01)
    failed = domain.Measurement("sha256:2", unit, failure="the process was ended by signal 6")
    loaded_once = domain.Measurement("sha256:3", unit, load_seconds=90.0)
    facts = worker_facts().with_measurement(timed).with_measurement(failed).with_measurement(loaded_once)
    view = WorkerView("w", domain.WorkerState.ACTIVE, "", facts, (), None, 0.0, 1.0, 0.0)
    told = [json_form(one) for one in codec.encode_worker(view).measurements]
    assert [one["model_digest"] for one in told] == ["sha256:1", "sha256:2", "sha256:3"]
    assert told[0]["step_duration"] == "0.400s"
    assert told[0]["compile_duration"] == "100s"
    assert told[1]["failure"] == failed.failure
    set_fields = [
        {field.name for field, _ in one.ListFields() if field.name.endswith("_duration")}
        for one in codec.encode_worker(view).measurements
    ]
    assert set_fields[1:] == [set(), {"compile_duration"}], "the first load alone does not tell the two apart"
