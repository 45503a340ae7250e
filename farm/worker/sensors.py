"""What only a Mac can tell of itself while it works: how hot it is, and the energy that its chip has used.

Neither needs root. Elsewhere, and where the system does not say, both are None.
"""

import ctypes
import ctypes.util
import sys
from collections.abc import Callable


def thermal_level() -> int | None:
    """NSProcessInfo's thermal state: 0 nominal, 1 fair, 2 serious, 3 critical."""
    if sys.platform != "darwin":
        return None
    objc = ctypes.CDLL(ctypes.util.find_library("objc"))
    ctypes.CDLL(ctypes.util.find_library("Foundation"))
    objc.objc_getClass.restype = objc.sel_registerName.restype = ctypes.c_void_p
    objc.objc_getClass.argtypes = objc.sel_registerName.argtypes = [ctypes.c_char_p]
    send = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(("objc_msgSend", objc))
    ask = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)(("objc_msgSend", objc))
    process_info = send(objc.objc_getClass(b"NSProcessInfo"), objc.sel_registerName(b"processInfo"))
    return int(ask(process_info, objc.sel_registerName(b"thermalState")))


def energy_gauge() -> Callable[[], float] | None:
    """What tells the joules that the chip has used since some moment: CPU, GPU, Neural Engine and memory together."""
    if sys.platform != "darwin":
        return None
    try:
        from zeus_apple_silicon import AppleEnergyMonitor

        monitor = AppleEnergyMonitor()
    except (ImportError, RuntimeError):  # an Intel Mac, or a system that does not let it look
        return None

    def joules() -> float:
        used = monitor.get_cumulative_energy()
        parts = (used.cpu_total_mj, used.gpu_mj, used.ane_mj, used.dram_mj)
        return sum(part for part in parts if part is not None) / 1000

    return joules
