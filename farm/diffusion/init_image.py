"""The picture that an image starts from, as a VAE encoder takes it."""

import io

import numpy as np
from numpy.typing import NDArray

from farm.errors import ImageFailedError


def read_init_image(data: bytes, width: int, height: int) -> NDArray[np.float32]:
    """Decodes a PNG or JPEG and resizes it, as diffusers does: Lanczos, whatever its proportions were.

    Args:
        data: Bytes of the file. A transparent picture loses its transparency, not its colours.
        width: Width in pixels to bring it to.
        height: Height in pixels to bring it to.

    Returns:
        (1, 3, height, width), from -1 to 1.

    Raises:
        ImageFailedError: The bytes cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageFailedError(
            f"init_image cannot be decoded ({error}): the file is damaged, or neither PNG nor JPEG. Save it again and"
            " submit the image again."
        ) from error
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture, np.float32) / np.float32(127.5) - np.float32(1)
    return pixels.transpose(2, 0, 1)[None]
