"""The vocabulary agrees with the rooms that fill it."""

from farm import domain
from farm.diffusion import samplers


def test_a_job_can_ask_for_every_sampler_that_there_is_and_for_no_other() -> None:
    assert tuple(samplers.SAMPLERS) == domain.SAMPLERS
