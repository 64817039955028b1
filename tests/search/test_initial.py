import itertools
import random

import pytest

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.search.initial import feasible_resolutions, initial_candidates

CAP_MS = 20


def first(toy, count: int, cap: float = CAP_MS, seed: int = 0) -> list[SubnetConfig]:
    candidates = initial_candidates(toy.space, toy.latency, cap, 0.8, random.Random(seed))
    return list(itertools.islice(candidates, count))


@pytest.mark.parametrize("seed", range(5))
def test_the_first_cannot_be_enlarged_under_the_cap(toy, seed: int) -> None:
    found = first(toy, 3, cap=30, seed=seed)
    assert [subnet.resolution for subnet in found] == [128, 96, 64]
    assert found[2] == toy.space.largest(64)
    for subnet in found:
        assert toy.latency(subnet) <= 30
        assert all(toy.latency(larger) > 30 for larger in toy.space.larger_neighbours(subnet))


def test_they_take_the_resolutions_in_turn_and_lie_near_the_cap(toy) -> None:
    found = first(toy, 60)
    assert [subnet.resolution for subnet in found] == [128, 96, 64] * 20
    assert all(subnet in toy.space for subnet in found)
    fills = sorted(toy.latency(s) / min(CAP_MS, toy.latency(toy.space.largest(s.resolution))) for s in found)
    # A path's steps are coarse, so a few candidates may fall just short of the band.
    assert fills[len(fills) // 10] >= 0.75
    assert 0.97 < fills[-1] <= 1
    assert len({round(fill, 2) for fill in fills}) > 10


def test_they_follow_from_the_random_state(toy) -> None:
    assert first(toy, 20, seed=1) == first(toy, 20, seed=1) != first(toy, 20, seed=2)


def test_resolutions_over_the_cap_are_left_out(toy) -> None:
    cap = toy.latency(toy.space.smallest(64)) + 1
    assert feasible_resolutions(toy.space, toy.latency, cap) == (64,)
    assert {subnet.resolution for subnet in first(toy, 10, cap=cap)} == {64}


def test_a_cap_that_only_the_smallest_keeps(toy) -> None:
    assert set(first(toy, 5, cap=toy.latency(toy.space.smallest(64)))) == {toy.space.smallest(64)}


def test_an_infeasible_cap_names_the_smallest_latency(toy) -> None:
    smallest = toy.latency(toy.space.smallest())
    with pytest.raises(ValueError, match=rf"at least {smallest:.2f} ms.*64 px.*found 1 ms; raise the cap"):
        feasible_resolutions(toy.space, toy.latency, 1)
    with pytest.raises(ValueError, match="above 0 ms, found -1"):
        feasible_resolutions(toy.space, toy.latency, -1)
