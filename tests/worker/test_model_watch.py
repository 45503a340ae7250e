"""Models that come and go while a worker runs, with real folders and a real farm."""

import shutil
from pathlib import Path
from queue import SimpleQueue

import pytest

from farm.catalogue import Catalogue
from farm.client import Client
from farm.coordinator.engine import LocalEngine
from farm.domain import JobState
from farm.errors import FarmError
from farm.worker.model_watch import watch_models
from farm.worker.null_renderer import NullRenderer
from tests.catalogue.folders import copy_of_shapes
from tests.running_farm import running_farm
from tests.waiting import PATIENCE, until

OFTEN = 0.05


def test_what_the_folders_hold_is_offered_after_each_change_that_is_complete(tmp_path: Path) -> None:
    root = tmp_path / "models"
    offered: SimpleQueue[list[str]] = SimpleQueue()
    catalogue = Catalogue([root], cache=tmp_path / "digests.json")
    with watch_models(catalogue, lambda models: offered.put([model.name for model in models]), OFTEN):
        assert offered.get(timeout=PATIENCE) == []
        arriving = copy_of_shapes(root, ".arriving")
        arriving.rename(root / "shapes")
        assert offered.get(timeout=PATIENCE) == ["shapes"]
        shutil.move(root / "shapes", tmp_path / "gone")
        assert offered.get(timeout=PATIENCE) == []


def test_a_running_farm_renders_with_a_model_that_was_added_and_refuses_one_that_was_removed(tmp_path: Path) -> None:
    root = tmp_path / "models"
    copy_of_shapes(root, "first")
    renderer = NullRenderer(Catalogue([root], cache=tmp_path / "digests.json").models())

    with (
        running_farm(tmp_path / "state", engine=LocalEngine(renderer), models=root) as farm,
        watch_models(Catalogue([root], cache=tmp_path / "more.json"), renderer.offer, OFTEN),
        Client(farm.address) as client,
    ):

        def offers(model: str) -> bool:
            return any(each.workers for each in client.models() if each.name == f"models/{model}")

        copy_of_shapes(root, "second")
        until(lambda: offers("second"), "the model that was added is not offered")
        assert client.submit(["a circle"], model="second", steps=1).wait() is JobState.SUCCEEDED

        shutil.move(root / "second", tmp_path / "gone")
        until(lambda: not any(each.name == "models/second" for each in client.models()), "it is still listed")
        with pytest.raises(FarmError, match="second"):
            client.submit(["a circle"], model="second")
