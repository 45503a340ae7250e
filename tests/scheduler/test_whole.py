import itertools

from hypothesis import given
from hypothesis import strategies as st

from farm.scheduler.whole import PRECISION, Crew, least_seconds, surplus_seconds

CREWS = st.lists(
    st.builds(Crew, st.integers(1, 4), st.sampled_from([0.0, 3.0, 40.0]), st.sampled_from([0.5, 2.0, 7.0, 30.0])),
    min_size=1,
    max_size=4,
)


@given(CREWS, st.integers(1, 60))
def test_the_least_time_is_when_the_last_of_so_many_images_is_there(crews: list[Crew], images: int) -> None:
    """The images that each machine brings in, one after the other, in the order in which they come."""
    moments = sorted(
        itertools.chain.from_iterable(
            [crew.load_seconds + number * crew.image_seconds] * crew.count
            for crew in crews
            for number in range(1, images + 1)
        )
    )
    least = least_seconds(crews, images)
    assert moments[images - 1] <= least * (1 + 1e-9) <= moments[images - 1] * (1 + 2 * PRECISION)
    assert surplus_seconds(crews, images) > 0


def test_forty_machines_take_as_long_for_one_image_as_the_quickest_of_them() -> None:
    crews = [Crew(39, 0.0, 14.0), Crew(1, 1.0, 4.0)]
    assert abs(least_seconds(crews, 1) - 5.0) < 0.01
    assert abs(least_seconds(crews, 41) - 14.0) < 0.02
