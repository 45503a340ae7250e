"""Models that are broken on disk: their images fail with a reason that names the file, and other jobs go on."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from coremltools.proto import Model_pb2

from farm import Client
from farm.domain import JobState
from tests.abuse.processes import CoordinatorProcess, coordinator
from tests.catalogue.folders import copy_of_shapes, package

WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")
PROGRAM = Path("Data/com.apple.CoreML/model.mlmodel")


def truncate_weights(package: Path) -> None:
    content = (package / WEIGHTS).read_bytes()
    (package / WEIGHTS).write_bytes(content[: len(content) // 2])


def swap_weights(unet: Path) -> None:
    shutil.copy(package(unet.parents[2], "vae_decoder") / WEIGHTS, unet / WEIGHTS)


def use_an_unknown_operation(package: Path) -> None:
    model = Model_pb2.Model.FromString((package / PROGRAM).read_bytes())
    main = model.mlProgram.functions["main"]
    operation = next(one for one in main.block_specializations[main.opset].operations if one.type == "softmax")
    operation.type = "softmax_of_tomorrow"
    (package / PROGRAM).write_bytes(model.SerializeToString())


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncate_weights, "but the file ends at"),
    "swapped": (swap_weights, "do not fit their program"),
    "unknown": (use_an_unknown_operation, "softmax_of_tomorrow: this operation is not known"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, (damage, _) in DAMAGES.items():
        model = copy_of_shapes(folder, name)
        shutil.rmtree(model / "split_einsum")  # else the sound variant would be rendered with
        damage(package(model, "unet"))
    return folder


@pytest.fixture(scope="module")
def running(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    state = tmp_path_factory.mktemp("farm") / "state"
    with coordinator(state, environment={"FARM_MODELS": str(models)}) as process:
        yield process


@pytest.mark.parametrize("name", DAMAGES)
def test_images_of_a_damaged_model_fail_with_a_reason_that_names_the_file_and_other_jobs_go_on(
    running: CoordinatorProcess, models: Path, name: str
) -> None:
    with Client(running.address) as client:
        broken = client.submit(["a red circle"] * 3, model=name, steps=1)
        sound = client.submit(["a red circle"] * 2, model="shapes", steps=1)
        assert broken.wait() is JobState.FAILED
        assert sound.wait() is JobState.SUCCEEDED
        errors = [image.error.message for image in broken.images()]
    assert len(errors) == 3
    for error in errors:
        assert str(package(models / name, "unet")) in error
        assert DAMAGES[name][1] in error
