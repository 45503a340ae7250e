"""What a chip favours, and which forms of a model suit which of its processors."""

import enum
from collections.abc import Mapping

ANE_UP_TO_CORES = 14
"""Up to so many GPU cores, the Neural Engine was faster on every machine of which both were published,"""

GPU_FROM_CORES = 24
"""and from so many on, the GPU; docs/placement.md has the figures. Between the two, only measuring tells."""


class ChipClass(enum.Enum):
    """What a chip favours for image models."""

    ANE = "ANE"
    GPU = "GPU"
    CPU = "CPU"

    @classmethod
    def favoured(cls, gpu_cores: int, *, has_ane: bool = True) -> "ChipClass":
        """What an Apple chip favours before it was measured; between the bounds, the Neural Engine for its energy."""
        return cls.GPU if gpu_cores >= GPU_FROM_CORES or not has_ane else cls.ANE

    @staticmethod
    def is_between(gpu_cores: int) -> bool:
        """Whether only measuring tells what an Apple chip with so many GPU cores favours."""
        return ANE_UP_TO_CORES < gpu_cores < GPU_FROM_CORES


class ComputeUnit(enum.Enum):
    """Which processors Core ML may use, with the names of `coremltools.ComputeUnit`."""

    CPU_ONLY = "CPU_ONLY"
    CPU_AND_GPU = "CPU_AND_GPU"
    CPU_AND_NE = "CPU_AND_NE"
    ALL = "ALL"


FAVOURED: Mapping[ChipClass, ComputeUnit] = {
    ChipClass.ANE: ComputeUnit.CPU_AND_NE,
    ChipClass.GPU: ComputeUnit.CPU_AND_GPU,
}
"""The compute unit of each class, before anything is measured. A machine without an accelerator has none."""


class AttentionVariant(enum.Enum):
    """How a model's attention is written, with the names of Apple's converter."""

    ORIGINAL = "ORIGINAL"
    SPLIT_EINSUM = "SPLIT_EINSUM"
    SPLIT_EINSUM_V2 = "SPLIT_EINSUM_V2"


PROPER_VARIANTS: Mapping[ComputeUnit, tuple[AttentionVariant, ...]] = {
    ComputeUnit.CPU_ONLY: tuple(AttentionVariant),
    ComputeUnit.CPU_AND_GPU: tuple(AttentionVariant),
    ComputeUnit.CPU_AND_NE: (AttentionVariant.SPLIT_EINSUM, AttentionVariant.SPLIT_EINSUM_V2),
    ComputeUnit.ALL: tuple(AttentionVariant),
}
"""Attention variants that a compute unit may be given, the best first.

ORIGINAL is the quicker one on a GPU or CPU; it never goes to the Neural Engine, whose compiler was reported not to
finish (apple/ml-stable-diffusion#271)."""
