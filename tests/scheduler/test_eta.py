from dataclasses import replace

from farm.scheduler.eta import eta
from farm.scheduler.transitions import apply
from tests.scheduler.farms import Farm, facts


def test_the_first_image_of_a_model_corrects_what_was_foretold_without_knowing_it() -> None:
    farm = Farm()
    farm.join("w", replace(facts({"a": 1.0}), measurements=()))
    farm.submit("j", "a", 100)
    started = farm.decide()[0]
    guess = foretold(farm)
    apply(farm.state, farm.image("j", started.number, 0, "w", 0.001))
    farm.decide()
    assert foretold(farm) < guess / 10


def foretold(farm: Farm) -> float:
    """Seconds to the likely end of the job."""
    expected = eta(farm.state, farm.state.jobs["j"], farm.now)
    assert expected is not None
    return expected.likely - farm.now
