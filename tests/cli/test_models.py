"""Commands for models, at a farm and without one."""

import json
from pathlib import Path

import pytest

from tests.catalogue.folders import copy_of_shapes, package
from tests.catalogue.published import SWIFT, put_compiled, put_tokenizer
from tests.cli.conftest import Run

NOBODY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FARM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "models"


def test_the_farm_says_which_workers_have_a_model(run: Run) -> None:
    code, out, _ = run("models", "list", "--json")

    (shapes,) = json.loads(out)
    assert (code, shapes["name"], shapes["workers"]) == (0, "models/shapes", ["workers/local"])
    assert run("models")[1].splitlines()[0].split()[-1] == "WORKERS"


def test_a_model_is_shown_with_each_of_its_forms(run: Run) -> None:
    code, out, _ = run("models", "show", "shapes")
    assert code == 0
    assert all(word in out for word in ("original", "split_einsum", "float16", "sha256:", "64x64", "Workers: local"))
    assert run("models", "show", "square")[2].startswith('Error: There is no model "square"; there are: shapes.')


def test_without_a_farm_the_disk_is_listed(run: Run, store: Path) -> None:
    copy_of_shapes(store, "mine")
    (copy_of_shapes(store, "broken") / "vocab.json").unlink()

    code, out, error = run("models", "list", "--address", NOBODY, "--json")

    assert (code, [model["name"] for model in json.loads(out)]) == (0, ["models/mine", "models/shapes"])
    assert "No farm answers" in error
    assert "broken cannot be used" in error
    assert "No farm" not in run("models", "list", "--local")[2]


def test_what_the_group_is_given_holds_for_its_command_which_refuses_what_it_has_no_use_for(run: Run) -> None:
    assert NOBODY in run("models", "--address", NOBODY, "list")[2]  # though FARM_ADDRESS names another
    assert json.loads(run("models", "--local", "--json", "list")[1])[0]["name"] == "models/shapes"
    code, _, error = run("models", "--address", NOBODY, "remove", "shapes")
    assert (code, "farm models remove has no --address" in error) == (2, True)


def test_a_model_is_added_verified_and_removed(run: Run, store: Path, tmp_path: Path) -> None:
    arrived = copy_of_shapes(tmp_path / "downloads", "Forms")

    code, out, _ = run("models", "add", arrived)
    assert (code, out.startswith("forms added: original 64x64, split_einsum 64x64")) == (0, True)
    code, out, _ = run("models", "verify", "forms", "--json")
    verdict = json.loads(out)
    assert (code, verdict["problems"], verdict["packages_loaded"]) == (0, [], 8)
    assert f"On this machine, from: {arrived}" in run("models", "show", "forms", "--local")[1]

    program = package(store / "forms", "unet") / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    program.write_bytes(program.read_bytes()[:-100])
    code, out, _ = run("models", "verify", "forms")
    assert code == 1
    assert "weight.bin is not what it was" in out
    assert "unet of ORIGINAL does not load here" in out

    for options, why in (((), "no terminal"), (("--json",), "With --json nobody is asked")):
        code, out, err = run("models", "remove", "forms", *options)
        assert (code, out, why in err, "give --yes" in err) == (2, "", True, True), err
    assert (store / "forms").is_dir()
    assert json.loads(run("models", "remove", "forms", "--yes", "--json")[1])["freed_bytes"] > 10_000_000
    assert run("models", "remove", "forms", "--yes")[0] == 1


def test_a_compiled_model_is_taken_in_and_what_a_mac_is_needed_for_is_said(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "downloads" / "flat"
    for component in ("text_encoder", "unet", "vae_decoder"):
        put_compiled(folder / f"{SWIFT[component]}.mlmodelc", component)
    put_tokenizer(folder)

    code, out, _ = run("models", "add", folder, "--link")
    assert (code, "get its packages" in out) == (0, True)
    code, out, _ = run("models", "verify", "flat")
    assert code == 1
    assert "which only Core ML on a Mac can run. Get the .mlpackage" in out


def test_what_cannot_be_added_is_told_in_a_sentence(run: Run, tmp_path: Path) -> None:
    code, _, error = run("models", "add", tmp_path / "nothing")
    assert (code, error) == (1, f"Error: There is nothing at {tmp_path / 'nothing'}. Check the path.\n")


@pytest.mark.parametrize("repository", ["foo", "https://huggingface.co/apple/foo", "a/b/c", ""])
def test_what_is_no_name_of_a_repository_is_told_before_the_hub_is_asked(run: Run, repository: str) -> None:
    code, _, error = run("models", "pull", repository)
    assert (code, "is not a repository name: give OWNER/NAME" in error) == (2, True)
