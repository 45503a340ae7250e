"""A runtime that runs the bundled checkpoint in torch, behind any contract that a package may have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.references import CHECKPOINT
from farm.domain import ComputeUnit
from farm.runtime.base import Array, LoadedModel, TensorSpec

Run = Callable[..., Any]


@cache
def checkpoint() -> Any:
    """The bundled checkpoint's modules."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(CHECKPOINT, dtype=torch.float32, safety_checker=None)


@dataclass(frozen=True)
class TorchModel:
    """A torch function with a package's declarations."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    run: Run

    def predict(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert {name: array.shape for name, array in feeds.items()} == {
            name: spec.shape for name, spec in self.inputs.items()
        }
        with torch.no_grad():
            results = self.run(**{name: torch.from_numpy(array.copy()) for name, array in feeds.items()})
        return {name: result.numpy() for name, result in zip(self.outputs, results, strict=True)}


@dataclass
class TorchRuntime:
    """Serves the checkpoint's components, with the contract that a test asks for.

    Attributes:
        batch: Batch size of the UNet.
        channels_first: Whether hidden states are (B, C, 1, S), as Apple's converter has them, or (B, S, C).
        ids_dtype: Declared type of the token ids.
        pooled: Whether the text encoder has a second output.
        altered: Components that are something else: by name, a function of the component.
    """

    batch: int = 2
    channels_first: bool = True
    ids_dtype: str = "float32"
    pooled: bool = True
    altered: Mapping[str, Callable[[TorchModel], LoadedModel]] = field(default_factory=dict)
    name: str = "torch"
    compiles: bool = False
    compute_units: tuple[ComputeUnit, ...] = (ComputeUnit.CPU_ONLY,)
    versions: Mapping[str, str] = field(default_factory=dict)

    def load(self, package: Path, compute_unit: ComputeUnit, function: str | None = None) -> LoadedModel:
        makers: Mapping[str, Callable[[], TorchModel]] = {
            "text_encoder": self._text_encoder,
            "unet": self._unet,
            "vae_decoder": self._vae_decoder,
        }
        (component,) = (name for name in makers if package.stem.endswith(name))
        model: TorchModel = makers[component]()
        return self.altered[component](model) if component in self.altered else model

    def _text_encoder(self) -> TorchModel:
        names = ["last_hidden_state", "pooled_outputs"][: 1 + self.pooled]

        def run(input_ids: torch.Tensor) -> list[torch.Tensor]:
            result = checkpoint().text_encoder(input_ids.long())
            return [result.last_hidden_state, result.pooler_output][: len(names)]

        return _declare(run, {"input_ids": ((1, 77), self.ids_dtype)}, names)

    def _unet(self) -> TorchModel:
        def run(sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
            states = encoder_hidden_states
            states = states.squeeze(2).transpose(1, 2) if self.channels_first else states
            return checkpoint().unet(sample, timestep, states, return_dict=False)

        batch = self.batch
        shapes = {
            "sample": ((batch, 4, 8, 8), "float16"),
            "timestep": ((batch,), "float16"),
            "encoder_hidden_states": ((batch, 96, 1, 77) if self.channels_first else (batch, 77, 96), "float16"),
        }
        return _declare(run, shapes, ["noise_pred"])

    def _vae_decoder(self) -> TorchModel:
        run = partial(checkpoint().vae.decode, return_dict=False)
        return _declare(lambda z: run(z), {"z": ((1, 4, 8, 8), "float16")}, ["image"])


def _declare(run: Run, inputs: Mapping[str, tuple[tuple[int, ...], str]], outputs: list[str]) -> TorchModel:
    return TorchModel(
        {name: TensorSpec(name, shape, dtype) for name, (shape, dtype) in inputs.items()},
        {name: TensorSpec(name, (), "float32") for name in outputs},
        run,
    )


def constant_output(value: float, model: TorchModel) -> TorchModel:
    """The model with `value` all over its outputs, whatever it is fed."""

    def run(**feeds: torch.Tensor) -> list[torch.Tensor]:
        return [torch.full_like(result, value) for result in model.run(**feeds)]

    return TorchModel(model.inputs, model.outputs, run)
