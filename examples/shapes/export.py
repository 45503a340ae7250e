"""Writes trained networks as the diffusers folder that `farm.convert` takes."""

import json
from pathlib import Path
from typing import Any

from examples.shapes import networks

PARTS = {
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
ABSENT_PARTS = ("feature_extractor", "image_encoder", "safety_checker")


def export_model(folder: Path, text_encoder: Any, unet: Any, autoencoder: Any) -> None:
    """Writes all parts but the tokenizer, which training wrote there before; weights are rounded to float16."""
    for name, network in (("text_encoder", text_encoder), ("unet", unet), ("vae", autoencoder)):
        network.half().save_pretrained(folder / name, safe_serialization=True)
    networks.sampler().save_pretrained(folder / "scheduler")
    absent = dict.fromkeys(ABSENT_PARTS, (None, None))
    index = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False, **absent, **PARTS}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
