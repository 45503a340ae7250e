"""Files of committed images, as they are given out."""

import hashlib

from farm.coordinator.coordinator import Coordinator
from farm.coordinator.views import ImageView
from farm.errors import ArtifactError


def read_image_file(coordinator: Coordinator, image: ImageView) -> bytes:
    """The PNG's bytes. Checked before any of them is sent, so that nobody ever holds half of a wrong image.

    Args:
        coordinator: Knows where it is.
        image: A committed image.

    Raises:
        ArtifactError: The file is gone or is not what was committed.
    """
    assert image.committed is not None
    path = coordinator.artifact_path(image)
    name = f"jobs/{image.job_id}/images/{image.index}"
    try:
        png = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"The file of {name} cannot be read ({error.strerror}). The journal says it was committed, so somebody "
            "removed or locked it: restore it, or render the image again.",
            image=name,
        ) from error
    if hashlib.sha256(png).hexdigest() != image.committed.sha256:
        raise ArtifactError(
            f"The file of {name} is not the one that was committed: its hash differs, so it was changed or the "
            "disk is failing. Restore it, or render the image again.",
            image=name,
        )
    return png
