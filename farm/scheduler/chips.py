"""How fast a chip is thought to be before anybody measured it: one denoising step of Stable Diffusion 1.x/2.x, batch 2.

From published same-machine figures at 512x512, 25 steps (huggingface/swift-coreml-diffusers#31, the Hugging Face blog
"fast-mac-diffusers", apple/ml-stable-diffusion's README, aszc-dev/coreml-diffusion-benchmarks, arXiv 2605.16259). Two
regularities carry the table: on the GPU, seconds times GPU cores is nearly the same within a generation; on the Neural
Engine, the seconds are. Generations from M3 on are extrapolated, but for one pair.
"""

import functools
import re
from collections.abc import Mapping

from farm.domain import AttentionVariant, ComputeUnit, ModelOffer, WorkerFacts

GPU_CORE_SECONDS: Mapping[int, float] = {1: 9.0, 2: 7.0, 3: 6.0, 4: 5.0, 5: 4.0}
"""Seconds times GPU cores of a step, by generation. M1: 8.3 to 10, M2: 5.9 to 7.4, M3: 6.4 (Ultra); others derived."""

ANE_SECONDS: Mapping[int, float] = {1: 0.56, 2: 0.39, 3: 0.36, 4: 0.30, 5: 0.27}
"""Seconds of a step on the Neural Engine, by generation. M1: 0.54 to 0.58; M2: 0.38 to 0.40; others derived."""

ULTRA_PENALTY = 1.25
"""Two dies share one GPU's work less than perfectly: M1 Ultra 1.2 times, M2 Ultra 1.6 times the core-seconds of one."""

SPLIT_ON_GPU = 1.38
"""How much longer a GPU takes with split attention than with ORIGINAL: 2.7 against 1.95 steps a second on an M1 Max
(TheMurusTeam/PromptToImage)."""

CPU_SECONDS = 10.0
"""Seconds of a step without an accelerator; the order of magnitude."""

REFERENCE_PIXELS = 512 * 512

LOAD_SECONDS: Mapping[ComputeUnit, float] = {
    ComputeUnit.CPU_ONLY: 3.0,
    ComputeUnit.CPU_AND_GPU: 6.0,
    ComputeUnit.CPU_AND_NE: 15.0,
    ComputeUnit.ALL: 15.0,
}
"""Loading a compiled model, before anybody measured it."""

COMPILE_SECONDS: Mapping[ComputeUnit, float] = {
    ComputeUnit.CPU_ONLY: 0.0,
    ComputeUnit.CPU_AND_GPU: 10.0,
    ComputeUnit.CPU_AND_NE: 120.0,
    ComputeUnit.ALL: 120.0,
}
"""By how much a machine's first load of a model takes longer, before anybody measured it: "up to two minutes" for the
Neural Engine by Apple's README, 104 s for the parts of Stable Diffusion 1 in apple/ml-stable-diffusion#103. Compiling a
package without specialising it for a device is a matter of 3 s."""


def prior_seconds(facts: WorkerFacts, unit: ComputeUnit, offer: ModelOffer) -> float:
    """Seconds that one denoising step is thought to take.

    Args:
        facts: The machine.
        unit: Where the UNet runs; ALL is priced as the better of both, which it has never beaten.
        offer: The model variant.
    """
    scale = offer.width * offer.height / REFERENCE_PIXELS
    if unit is ComputeUnit.CPU_ONLY:
        return CPU_SECONDS * scale
    generation = _generation(facts.chip)
    on_gpu = GPU_CORE_SECONDS[generation] / max(facts.gpu_cores, 1) * (ULTRA_PENALTY if "Ultra" in facts.chip else 1.0)
    on_gpu *= 1.0 if offer.attention is AttentionVariant.ORIGINAL else SPLIT_ON_GPU
    on_ane = ANE_SECONDS[generation]
    choices = {ComputeUnit.CPU_AND_GPU: on_gpu, ComputeUnit.CPU_AND_NE: on_ane, ComputeUnit.ALL: min(on_gpu, on_ane)}
    return choices[unit] * scale


@functools.cache
def _generation(chip: str) -> int:
    """1 for "Apple M1 Max", and so on; a chip too new counts as the newest that is known, any other as an M1."""
    found = re.search(r"\bM([1-9][0-9]{0,2})\b", chip)
    return min(int(found[1]), max(ANE_SECONDS)) if found else 1
