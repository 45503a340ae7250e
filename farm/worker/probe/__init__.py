"""What machine this is, and how it fares.

Pure functions read what the system's own commands print (`sysctl`, `profiler`, `registry`, `linux`, `power`), two put
that together (`machine`), and one thin module runs the commands (`collect`). Nothing here raises: what a machine does
not say is left at its least (0, False, "", None), and `gaps` says so in words.
"""

from farm.worker.probe.collect import examine, probe
from farm.worker.probe.machine import Machine
from farm.worker.probe.power import Condition

__all__ = ["Condition", "Machine", "examine", "probe"]
