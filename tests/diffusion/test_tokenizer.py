import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.references import CHECKPOINT
from farm.diffusion.tokenizer import Tokenizer
from farm.errors import PipelineError
from tests.diffusion.models import shapes

END = "<|endoftext|>"


def bundled(length: int = 77, pad_token: str = END) -> Tokenizer:
    return Tokenizer(shapes().tokenizer, length, pad_token)


@pytest.mark.parametrize(
    "prompt",
    ["", "a large yellow star on a blue background", "A  Red\tCIRCLE, isn't it?", "naïve 星 🙂", "<|endoftext|> a"],
)
def test_ids_are_those_of_the_checkpoints_own_tokenizer(prompt: str) -> None:
    from transformers import CLIPTokenizer

    own = CLIPTokenizer.from_pretrained(CHECKPOINT / "tokenizer")

    tokens = bundled()(prompt)

    assert list(tokens.ids) == own(prompt, padding="max_length", truncation=True, max_length=77)["input_ids"]
    assert tokens.ignored == ""


def test_a_prompt_that_just_fits_is_read_whole_and_one_word_more_is_told() -> None:
    tokenizer = bundled(length=10)

    fitting, exceeding = tokenizer("red " * 8), tokenizer("red " * 8 + "circle")

    assert fitting.ids == exceeding.ids
    assert (fitting.ignored, exceeding.ignored) == ("", "circle")
    assert len(exceeding.ids) == 10


def test_a_short_prompt_is_padded_with_the_models_pad_token() -> None:
    ended, marked = bundled()("red"), bundled(pad_token="!")("red")

    assert ended.ids[:3] == marked.ids[:3]
    assert set(ended.ids[3:]) == {ended.ids[2]}
    assert set(marked.ids[3:]) != {ended.ids[2]}
    assert len(set(marked.ids[3:])) == 1


def test_a_pad_token_that_the_vocabulary_does_not_know_is_named() -> None:
    with pytest.raises(PipelineError, match=r"does not know the token '<\|pad\|>'"):
        bundled(pad_token="<|pad|>")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"no vocab.json and no merges.txt"):
        Tokenizer(tmp_path, 77, END)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": "b"}'])
def test_a_damaged_vocabulary_is_told(tmp_path: Path, content: str) -> None:
    shutil.copy(shapes().tokenizer / "merges.txt", tmp_path)
    (tmp_path / "vocab.json").write_text(content)

    with pytest.raises(PipelineError, match=r"damaged|does not know the token"):
        Tokenizer(tmp_path, 77, END)


def test_tokenizing_needs_no_torch_and_prints_nothing(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('torch is hidden')")
    program = (
        "import importlib.metadata, importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'torch' else find(name, *more)\n"
        "from pathlib import Path\n"
        "from farm.diffusion.tokenizer import Tokenizer\n"
        "Tokenizer(Path(sys.argv[1]), 77, '<|endoftext|>')('red ' * 100)\n"
        "assert 'torch' not in sys.modules\n"
    )

    result = subprocess.run(
        [sys.executable, "-c", program, str(shapes().tokenizer)],
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
