"""Which component a package is, by what it takes and gives: one table, the most telling inputs first."""

from collections.abc import Mapping
from dataclasses import dataclass

from farm.catalogue.contents import Interface

UNET_INPUTS = frozenset({"sample", "timestep", "encoder_hidden_states"})

_REFINER_TIME_IDS = 5
"""Numbers of a picture's `time_ids`: SDXL's refiner takes an aesthetic score where its base takes the size twice."""


@dataclass(frozen=True, slots=True)
class Role:
    """What tells a component from the others.

    Attributes:
        component: Its name.
        inputs: Inputs that it has, beside others.
        outputs: Outputs that it has, beside others.
    """

    component: str
    inputs: frozenset[str]
    outputs: frozenset[str] = frozenset()


ROLES = (
    Role("mmdit", frozenset({"latent_image_embeddings"})),
    Role("controlnet", frozenset({"sample", "controlnet_cond"})),
    Role("control_unet", UNET_INPUTS | {"additional_residual_0"}),
    Role("unet", UNET_INPUTS),
    Role("text_encoder", frozenset({"input_ids"})),
    Role("vae_decoder", frozenset({"z"})),
    Role("vae_encoder", frozenset({"x"})),
    Role("safety_checker", frozenset({"clip_input", "images"})),
    Role("unet_chunk2", frozenset(), frozenset({"noise_pred"})),
)

KINDS = {
    "text_encoder_2": "text_encoder",
    "refiner": "unet",
    "refiner_chunk1": "unet_chunk1",
    "refiner_chunk2": "unet_chunk2",
    "control_unet_chunk1": "control_unet",
    "control_unet_chunk2": "unet_chunk2",
}
"""Components that take and give the same as another one, so that only their names tell which of the two they are."""


def role_of(interface: Interface) -> str | None:
    """The component that an interface belongs to; None if it is none that is known."""
    inputs, outputs = interface.inputs.keys(), interface.outputs.keys()
    found = next((role.component for role in ROLES if role.inputs <= inputs and role.outputs <= outputs), None)
    if found != "unet":
        return found
    if "noise_pred" not in outputs and len(outputs) > 1:
        return "unet_chunk1"  # it hands over what its second half needs
    return "refiner" if is_refiner(interface.inputs) else "unet"


def is_refiner(inputs: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a UNet of these inputs is SDXL's refiner."""
    return numbers_a_picture(inputs, "time_ids") == _REFINER_TIME_IDS


def is_sdxl(inputs: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a UNet of these inputs is one of SDXL's."""
    return {"time_ids", "text_embeds"} <= inputs.keys()


def numbers_a_picture(inputs: Mapping[str, tuple[int, ...]], name: str) -> int:
    """How many numbers of an input fall to one picture of the batch, whether its shape is flat or not; 0 without it."""
    shape, batch = inputs.get(name, ()), inputs.get("sample", (1,))[0]
    total = 1
    for size in shape:
        total *= size
    return total // max(1, batch) if shape else 0


def text_width(inputs: Mapping[str, tuple[int, ...]]) -> int:
    """Channels of the hidden states that a UNet takes: (B, C, 1, S) as Apple has them, or (B, S, C)."""
    shape = inputs.get("encoder_hidden_states", ())
    return shape[1] if len(shape) == 4 else shape[-1] if shape else 0
