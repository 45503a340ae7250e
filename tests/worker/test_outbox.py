import os
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.carrier.messages import KeptReport, Told, decode
from farm.domain import AttemptKey, AttemptState
from farm.reports import AttemptReport, ImageReport
from farm.worker.outbox import MEMORY_LIMIT_BYTES, Outbox, OutboxFullError
from tests.builders import PROVENANCE

KEY = AttemptKey("job", 1)
END = AttemptReport(KEY, AttemptState.SUCCEEDED)


def image(index: int = 0, size: int = 1000, key: AttemptKey = KEY) -> ImageReport:
    return ImageReport(key, index, os.urandom(size), PROVENANCE, 0.5, ("a note",))


def kept(outbox: Outbox) -> list[KeptReport]:
    """Every report that is kept, in order."""
    reports = []
    for number in outbox.numbers():
        told = decode(outbox.get(number) or b"")
        assert isinstance(told, Told)
        assert told.number == number
        reports.append(told.report)
    return reports  # type: ignore[return-value]  # only kept reports are put


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.report"))


def test_reports_are_kept_in_order_until_they_are_taken(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    reports: list[KeptReport] = [image(0), image(1), END]
    numbers = [outbox.put(report) for report in reports]
    assert numbers == sorted(numbers) == outbox.numbers()
    assert kept(outbox) == reports
    assert outbox.remove(numbers[0]) is None
    assert kept(outbox) == reports[1:]


def test_taking_the_end_of_an_attempt_says_which_one_it_was(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    numbers = [outbox.put(image()), outbox.put(END)]
    assert outbox.attempts() == outbox.ended() == {KEY}
    assert [outbox.remove(number) for number in numbers] == [None, KEY]
    assert outbox.attempts() == set()
    assert files(tmp_path) == []


def test_what_is_taken_twice_or_never_was_is_no_error(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    number = outbox.put(END)
    outbox.remove(number)
    assert outbox.remove(number) is None
    assert outbox.get(number) is None


def test_the_next_process_finds_what_the_last_one_kept_and_counts_on(tmp_path: Path) -> None:
    first = Outbox(tmp_path)
    reports = [image(0), image(1, key=AttemptKey("job", 2))]
    numbers = [first.put(report) for report in reports]
    second = Outbox(tmp_path)
    assert kept(second) == reports
    assert second.attempts() == {KEY, AttemptKey("job", 2)}
    assert second.ended() == set()
    assert second.put(END) > numbers[-1]


def test_numbers_are_not_used_again_by_a_process_that_finds_nothing(tmp_path: Path) -> None:
    first = Outbox(tmp_path)
    number = first.put(END)
    first.remove(number)
    assert Outbox(tmp_path).put(END) > number


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-10],
        lambda content: content[:50] + bytes([content[50] ^ 1]) + content[51:],
        lambda _: b"",
    ],
    ids=["cut", "one bit turned", "empty"],
)
def test_a_damaged_file_is_dropped_and_the_others_are_kept(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    outbox = Outbox(tmp_path)
    reports = [image(0), image(1), image(2)]
    for index in range(3):
        outbox.put(reports[index])
    path = files(tmp_path)[1]

    path.write_bytes(damage(path.read_bytes()))
    assert kept(Outbox(tmp_path)) == [reports[0], reports[2]]
    assert len(files(tmp_path)) == 2


def test_a_file_that_is_damaged_while_it_is_kept_is_dropped_when_it_is_read(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    number = outbox.put(image())
    files(tmp_path)[0].write_bytes(b"nothing of the kind")
    assert outbox.get(number) is None
    assert outbox.numbers() == []


def test_a_file_that_cannot_be_read_now_is_neither_dropped_nor_deleted(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    report = image()
    number = outbox.put(report)
    path = files(tmp_path)[0]
    aside = path.rename(tmp_path / "aside")
    path.mkdir()  # nobody reads a folder, not even root
    with pytest.raises(OSError, match="directory"):
        outbox.get(number)
    assert Outbox(tmp_path).numbers() == []
    path.rmdir()
    aside.rename(path)
    assert kept(outbox) == kept(Outbox(tmp_path)) == [report]


def test_a_file_that_was_being_written_when_the_process_died_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / "00000000000000000001.part").write_bytes(b"half")
    assert Outbox(tmp_path).numbers() == []
    assert list(tmp_path.iterdir()) == []


def test_a_full_outbox_takes_no_image_but_always_the_end_of_an_attempt(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, limit_bytes=5000)
    first = image(0, 4000)
    number = outbox.put(first)
    with pytest.raises(OutboxFullError, match="that are not delivered"):
        outbox.put(image(1, 4000))
    outbox.put(END)
    assert kept(outbox) == [first, END]
    outbox.remove(number)
    outbox.put(image(1, 4000))


def test_a_disk_that_takes_nothing_costs_nothing_until_memory_is_full(tmp_path: Path) -> None:
    folder = tmp_path / "outbox"
    outbox = Outbox(folder)
    on_disk = image(0)
    outbox.put(on_disk)
    files(folder)[0].rename(tmp_path / "aside")
    folder.rmdir()
    folder.write_text("in the way")  # no file can be made in it now, whoever tries
    in_memory = image(1, MEMORY_LIMIT_BYTES - 10_000)
    number = outbox.put(in_memory)
    assert decode(outbox.get(number) or b"") == Told(in_memory, number)
    with pytest.raises(OutboxFullError, match="cannot be written"):
        outbox.put(image(2, 20_000))
    outbox.put(END)
    outbox.remove(number)
    outbox.put(image(2, 20_000))
