import pytest

from farm.diffusion.samplers import SAMPLERS
from farm.domain import MAX_STEPS, MAX_STEPS_OF, DiffusionConfig
from farm.errors import FarmError


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_does_as_many_steps_as_a_job_may_ask_for(name: str) -> None:
    assert len(SAMPLERS[name].schedule(DiffusionConfig(), MAX_STEPS_OF.get(name, MAX_STEPS)).sigmas) > 1


@pytest.mark.parametrize("name", MAX_STEPS_OF)
def test_a_sampler_with_a_limit_of_its_own_refuses_more(name: str) -> None:
    with pytest.raises(FarmError):
        SAMPLERS[name].schedule(DiffusionConfig(), MAX_STEPS_OF[name] + 1)
