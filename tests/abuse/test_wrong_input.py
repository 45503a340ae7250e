"""Wrong input, by the command line into a real farm: each is told in a paragraph, and nothing of it is submitted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm import Client
from farm.cli.main import main
from farm.domain import JobState
from tests.abuse.processes import CoordinatorProcess, coordinator
from tests.catalogue.folders import SHAPES, package


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    with coordinator(tmp_path_factory.mktemp("farm") / "state") as process:
        yield process
        with Client(process.address) as client:
            assert client.submit("a red circle", steps=1).wait() is JobState.SUCCEEDED


Refused = Callable[..., str]


@pytest.fixture
def refused(running: CoordinatorProcess, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Submits what must be refused, gives what is said of it, and makes sure that nothing of it is left."""

    def refused(*arguments: str) -> str:
        with Client(running.address) as client:
            before = len(list(client.jobs()))
            with pytest.raises(SystemExit) as ended:
                main(["submit", "--address", running.address, *arguments])
            out, err = capsys.readouterr()
            assert (ended.value.code, out) == (1, "")
            assert err.startswith("Error: ")
            assert "Traceback" not in err
            assert len(list(client.jobs())) == before
        return err

    return refused


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--model", "nonesuch", "there are: shapes"),
        ("--sampler", "magic", "known are ddim"),
        ("--width", "512", "shapes was converted for 64x64"),
        ("--height", "-64", "shapes was converted for 64x64"),
        ("--guidance-scale", "nan", "it must be a number from 0 to 100"),
        ("--guidance-scale", "inf", "it must be a number from 0 to 100"),
        ("--guidance-scale", "-1", "it must be a number from 0 to 100"),
        ("--steps", "0", "it must be from 1 to 999"),
        ("--steps", "-5", "it must be from 1 to 999"),
        ("--steps", "99999999999", "steps is 99999999999"),
        ("--seed", "-1", "seeds go from 0 to"),
        ("--seed", "4294967296", "seeds go from 0 to"),
        ("--priority", "101", "it must be from -100 to 100"),
    ],
)
def test_an_impossible_wish_is_refused_and_says_what_is_possible(
    refused: Refused, option: str, value: str, says: str
) -> None:
    assert says in refused("-p", "a red circle", option, value)


NOISE = (package(SHAPES, "unet") / "Data/com.apple.CoreML/weights/weight.bin").read_bytes()[-50_000:]


@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no prompts"),
        (b" \n\r\n", "holds no prompts"),
        (NOISE, "line 1, column"),
        ("prompt\nein rotes Dreieck\n".encode("utf-16"), "this is UTF-16; save the file as UTF-8"),
        (b"caf\xe9\n", "the byte 0xE9 is not UTF-8; save the file as UTF-8"),
    ],
    ids=["empty", "blank", "noise", "UTF-16", "Latin-1"],
)
def test_a_file_that_is_no_batch_is_refused_by_its_name(
    refused: Refused, tmp_path: Path, ending: str, content: bytes, says: str
) -> None:
    batch = tmp_path / f"batch.{ending}"
    batch.write_bytes(content)
    err = refused(str(batch))
    assert str(batch) in err
    assert says in err


def test_a_prompt_beyond_77_tokens_is_rendered_and_its_image_says_what_was_ignored(running: CoordinatorProcess) -> None:
    prompt = " ".join(["a red circle on a white background"] * 20) + " and a blue star"
    with Client(running.address) as client:
        job = client.submit([prompt, "a red circle"], steps=1)
        assert job.wait() is JobState.SUCCEEDED
        long, short = sorted(job.images(), key=lambda image: image.index)
    assert "The prompt is longer than the text encoder reads" in long.notes[0]
    assert "and a blue star" in long.notes[0]
    assert not short.notes
