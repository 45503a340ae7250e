"""CLIP's tokenizer, as `transformers` has it, with this farm's manners about prompts that are too long."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.errors import PipelineError


@dataclass(frozen=True, slots=True)
class Tokens:
    """A prompt as its text encoder reads it.

    Attributes:
        ids: Token ids: start, the words, end, padding.
        ignored: The end of the prompt for which there was no room; empty if all of it was read.
    """

    ids: Sequence[int]
    ignored: str


class Tokenizer:
    """Turns prompts into token ids.

    Args:
        folder: Holds vocab.json and merges.txt.
        length: Tokens of a prompt, its start, end and padding included; CLIP's text encoders take 77.
        pad_token: What follows the end of a short prompt.

    Raises:
        PipelineError: The files are missing, unreadable, or do not know one of the special tokens.
    """

    def __init__(self, folder: Path, length: int, pad_token: str) -> None:
        self._tokenizer = _load(folder)
        self._length = length
        special = {name: self._id(name, folder) for name in (_START, _END, pad_token)}
        self._start, self._end, self._pad = special[_START], special[_END], special[pad_token]

    def __call__(self, prompt: str) -> Tokens:
        """Tokenizes a prompt; what exceeds `length` is left out, as everywhere in the ecosystem, and told."""
        words = self._tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        read, ignored = words[: self._length - 2], words[self._length - 2 :]
        ids = [self._start, *read, self._end]
        padding = [self._pad] * (self._length - len(ids))
        return Tokens((*ids, *padding), self._tokenizer.decode(ignored) if ignored else "")

    def _id(self, token: str, folder: Path) -> int:
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        if token not in vocabulary:
            raise PipelineError(
                f"The tokenizer in {folder} does not know the token {token!r}, so its vocab.json is not that of this"
                " model. Take the model's own vocab.json and merges.txt.",
                token=token,
            )
        return vocabulary[token]


_START = "<|startoftext|>"
_END = "<|endoftext|>"


def _load(folder: Path) -> Any:
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    missing = [path.name for path in (vocabulary, merges) if not path.is_file()]
    if missing:
        raise PipelineError(
            f"The tokenizer folder {folder} has no {' and no '.join(missing)}, so prompts cannot be read. Fetch the"
            " model again, or copy the files from the model that it was converted from.",
            folder=str(folder),
        )
    # transformers advises at import that models need torch; the farm uses its tokenizers only.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    try:
        return CLIPTokenizer(vocab=str(vocabulary), merges=str(merges))
    except Exception as error:  # the Rust tokenizer raises no narrower one, whatever is wrong with its files
        raise PipelineError(
            f"The tokenizer files in {folder} cannot be read: {error}. They are damaged; fetch the model again.",
            folder=str(folder),
        ) from error
