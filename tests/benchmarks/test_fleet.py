"""The yardstick that the fleet is measured with."""

from pathlib import Path

import pytest

from benchmarks.fleet.macs import (
    FAULT_AT,
    FLEET,
    IMAGES,
    NOISE,
    STEPS,
    STRAGGLING,
    VICTIM,
    Fault,
    announce_straggling,
    bound_seconds,
    ideal_seconds,
    images_by,
    perfect_split,
    slowness,
)


@pytest.mark.parametrize("fault", Fault)
def test_the_oracle_gives_out_every_image_and_can_hardly_be_beaten(fault: Fault) -> None:
    split = perfect_split(IMAGES, fault)

    assert sum(split.values()) == IMAGES
    bound, fault_time = bound_seconds(IMAGES, fault), FAULT_AT * ideal_seconds(IMAGES)
    assert sum(images_by(mac, bound, fault, fault_time) for mac in FLEET) <= IMAGES
    assert all(images_by(mac, bound * 1.03, fault, fault_time) >= split[mac.name] for mac in FLEET)


def test_a_fault_makes_the_bound_later() -> None:
    assert bound_seconds(IMAGES, Fault.NONE) == ideal_seconds(IMAGES)
    assert (
        bound_seconds(IMAGES, Fault.NONE) < bound_seconds(IMAGES, Fault.STRAGGLER) < bound_seconds(IMAGES, Fault.KILL)
    )


def test_the_victim_straggles_from_the_moment_that_was_announced_and_no_other_mac_does(tmp_path: Path) -> None:
    slow_from = tmp_path / "slow-from"
    victim, other = slowness(VICTIM, slow_from), slowness(FLEET[0], slow_from)
    before = [victim() for _ in range(STEPS)]

    announce_straggling(slow_from, 0.0)

    assert all(abs(factor - 1) <= NOISE for factor in (*before, other()))
    assert victim() >= STRAGGLING * (1 - NOISE)
