"""The vocabulary agrees with the rooms that fill it."""

from farm import domain
from farm.diffusion import samplers


def test_a_job_can_ask_for_every_sampler_that_there_is_and_for_no_other() -> None:
    assert tuple(samplers.SAMPLERS) == tuple(domain.SAMPLERS)


def test_other_tools_names_of_samplers_are_as_unique_as_ours() -> None:
    assert len({label.lower() for label in domain.SAMPLERS.values()}) == len(domain.SAMPLERS)
