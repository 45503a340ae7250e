import dataclasses

import pytest

from benchmarks.metadata import FIELDS, READERS, Reader, asked_for, encoded, read_with_the_farm, specs, wrong_fields

SPECS = list(specs())


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_other_tools_read_every_field_of_every_image(reader: Reader) -> None:
    for spec in SPECS[::5]:
        assert wrong_fields(reader, encoded(spec), asked_for(spec)) == []


@pytest.mark.parametrize("reader", [*READERS.values(), read_with_the_farm], ids=[*READERS, "the farm"])
def test_a_field_that_is_not_as_asked_for_is_noticed(reader: Reader) -> None:
    spec = SPECS[1]
    other = dataclasses.replace(
        spec, prompt="p", negative_prompt="n", seed=5, width=8, height=8, steps=9, guidance_scale=1.5, sampler="lcm"
    )

    assert wrong_fields(reader, encoded(other), asked_for(spec, "another")) == list(FIELDS)
