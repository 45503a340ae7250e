"""What tests of commands share: a farm for each module, and a way to run commands against it."""

from collections.abc import Callable, Iterator

import pytest

from farm.cli.main import main
from tests.running_farm import RunningFarm, running_farm

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    """A farm that always fails the fourth image of a job."""
    with running_farm(tmp_path_factory.mktemp("farm") / "state", failures={3: 1000}) as running:
        yield running


@pytest.fixture
def run(farm: RunningFarm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command against the farm and gives its exit code, output and errors."""
    monkeypatch.setenv("FARM_ADDRESS", farm.address)
    return runner(capsys)


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs commands in this process; none may end in a traceback."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return int(ended.value.code or 0), captured.out, captured.err

    return run
