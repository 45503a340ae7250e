"""Which runtime a machine uses."""

import sys

from farm.errors import InvalidRequestError
from farm.runtime.base import Runtime


def select_runtime(name: str | None = None) -> Runtime:
    """The runtime of that name; without one, Core ML on a Mac and the portable runtime elsewhere.

    Raises:
        InvalidRequestError: There is no such runtime, or not on this machine.
    """
    chosen = name or ("coreml" if sys.platform == "darwin" else "portable")
    if chosen == "portable":
        from farm.runtime.portable import PortableRuntime

        return PortableRuntime()
    if chosen != "coreml":
        raise InvalidRequestError(f"There is no runtime '{chosen}'; choose 'coreml' or 'portable'.")
    if sys.platform != "darwin":
        raise InvalidRequestError("Core ML is a part of macOS, and this is not a Mac; choose the runtime 'portable'.")
    from farm.runtime.coreml import CoreMLRuntime

    return CoreMLRuntime()
