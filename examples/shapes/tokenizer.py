"""A CLIP tokenizer whose every word of the grammar is one token: byte pairs merged until the words are whole."""

import itertools
import json
from collections import Counter
from pathlib import Path

from examples.shapes.captions import words

END_OF_WORD = "</w>"
START_TOKEN, END_TOKEN = "<|startoftext|>", "<|endoftext|>"


def merges_for(vocabulary: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, in order, after which each word is one symbol.

    Sennrich et al. (2016), each word counted once: the most frequent pair is merged first, the later in the alphabet
    of two that are equally frequent.
    """
    spellings = {word: [*word[:-1], word[-1] + END_OF_WORD] for word in vocabulary}
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(pair for symbols in spellings.values() for pair in itertools.pairwise(symbols))
        if not pairs:
            return merges
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        spellings = {word: _merged(symbols, best) for word, symbols in spellings.items()}


def write_tokenizer(folder: Path) -> None:
    """Writes the files that transformers' and Apple's CLIP tokenizers read."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = merges_for(words())
    letters = byte_letters()
    symbols = [*letters, *(letter + END_OF_WORD for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {symbol: number for number, symbol in enumerate([*symbols, START_TOKEN, END_TOKEN])}
    special = {"bos_token": START_TOKEN, "eos_token": END_TOKEN, "unk_token": END_TOKEN, "pad_token": END_TOKEN}
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
        **special,
    }
    merge_lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(merge_lines) + "\n", encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def byte_letters() -> list[str]:
    """A printable letter for each byte, in GPT-2's order: bytes that print stand for themselves and come first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + position) for position in range(len(others))]


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged
