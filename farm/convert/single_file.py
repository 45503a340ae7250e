"""Checkpoints in one file, as Stable Diffusion's first code wrote them, with a diffusers folder to go by.

A file holds weights only: neither a tokenizer nor the architecture. Both come from the folder of the model that it was
trained from, without that one's weights. diffusers translates the names of the weights.
"""

from pathlib import Path
from pickle import UnpicklingError

import torch

from farm.convert.checkpoint import (
    Checkpoint,
    load_refiner_unet,
    load_vae,
    make_checkpoint,
    read_config,
    read_defaults,
    read_index,
    tokenizer_files,
)
from farm.errors import ConversionError

ENDINGS = (".safetensors", ".ckpt")


def load_file(file: Path, like: Path | None, *, refiner: Path | None = None, vae: Path | None = None) -> Checkpoint:
    """Reads a single-file checkpoint. A .ckpt is unpickled in torch's mode for weights alone, which runs no code.

    Args:
        file: The file.
        like: diffusers folder of a model of the same architecture; its weights may be left out.
        refiner: As for `load_folder`.
        vae: As for `load_folder`.

    Raises:
        ConversionError: There is no folder to go by, the file holds more than weights, or not the folder's networks.
    """
    import diffusers

    if file.suffix.lower() not in ENDINGS:
        raise ConversionError(f"{file} is not named like a checkpoint; use a file that ends in {' or '.join(ENDINGS)}")
    if like is None:
        raise ConversionError(
            f"{file} holds weights only. Say with --like which architecture and tokenizer they are for: a diffusers "
            "folder of the model that it was trained from, for example Stable Diffusion 1.5's; it needs no weights"
        )
    index = read_index(like)
    tokenizer = tokenizer_files(like)
    config = read_config(like, index, vae)
    try:
        pipeline = getattr(diffusers, index["_class_name"]).from_single_file(
            str(file), config=str(like), local_files_only=True, dtype=torch.float32
        )
    except UnpicklingError as error:
        raise ConversionError(
            f"{file} holds more than weights, and reading the rest would run code of its author's. Take the model's "
            ".safetensors file."
        ) from error
    except Exception as error:  # diffusers raises of many kinds over a file that is not what it looks for
        raise ConversionError(
            f"{file} cannot be read as a checkpoint like {like}: {error}. Either it is damaged, or it is of another "
            "architecture."
        ) from error
    parts = {name: part.eval() for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    return make_checkpoint(
        file,
        parts,
        config,
        read_defaults(like),
        tokenizer,
        refiner_unet=load_refiner_unet(refiner) if refiner else None,
        vae=load_vae(vae) if vae else None,
    )
