"""Checkpoints to Core ML packages, for those who installed the `[convert]` extra (torch, diffusers).

torch is imported as soon as a module of this room is, since its classes derive from torch's; whoever must start fast
imports this room late.
"""

BITS = (8, 6, 4)
"""What a weight can be made to take in palettes."""
