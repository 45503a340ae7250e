import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.carrier.messages import (
    Acknowledge,
    Beat,
    Cancel,
    Farewell,
    Hello,
    Message,
    Refusal,
    Refused,
    Release,
    Replaced,
    Told,
    decode,
    encode,
)
from farm.domain import AttemptKey, AttemptState, ComputeUnit, Measurement, Resident
from farm.reports import (
    AttemptReport,
    DeviceReport,
    ImageFailureReport,
    ImageReport,
    MeasurementReport,
    ResidencyReport,
    Stage,
    StageReport,
    StepReport,
    TrialReport,
)
from tests.builders import PROVENANCE, worker_facts
from tests.worker.builders import assignment

KEY = AttemptKey("job", 3)
MEASURED = Measurement("sha256:1", ComputeUnit.CPU_AND_NE, 0.4, 0.6, 15.0, 100.0, 2 << 30, 0.01, "or not")

MESSAGES: list[Message] = [
    Hello("w", "folder", worker_facts(room="attic"), frozenset({KEY, AttemptKey("job", 4)})),
    Beat(),
    Farewell("it was stopped"),
    Replaced(),
    Told(StageReport(KEY, Stage.LOAD)),
    Told(StepReport(KEY, 1, 2, 3)),
    Told(ImageReport(KEY, 1, b"\x89PNG" * 100, PROVENANCE, 0.5, ("a note",)), 7),
    Told(ImageFailureReport(KEY, 1, "BAD", "it is bad"), 8),
    Told(AttemptReport(KEY, AttemptState.ABANDONED, "asleep", 1), 2**62),
    Told(ResidencyReport((Resident("shapes", "sha256:1", ComputeUnit.ALL),))),
    Told(DeviceReport("another farm has it")),
    Told(TrialReport("sha256:1", ComputeUnit.ALL, Stage.DENOISE, 1, 9)),
    Told(MeasurementReport(MEASURED)),
    Hello("w", "folder", worker_facts().with_measurement(MEASURED), frozenset()),
    assignment(1, "a", "b"),
    Cancel(KEY),
    Release(KEY),
    Refused("because", Refusal.VERSION_MISMATCH),
    Acknowledge(2**62),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(getattr(message, "report", message)).__name__)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert decode(encode(message)) == message


def test_a_refusal_by_a_version_that_knew_one_cause_only_is_read() -> None:
    assert decode(msgspec.msgpack.encode(("Refused", None, {"reason": "because"}))) == Refused("because")


@given(st.binary())
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own words
        decode(data)


@given(st.sampled_from(MESSAGES), st.integers(0, 10_000))
def test_a_message_that_was_cut_is_refused(message: Message, length: int) -> None:
    data = encode(message)
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own words
        decode(data[: length % len(data)])
