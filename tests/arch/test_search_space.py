import itertools
import random
from collections import Counter

import pytest

from ofa_det.arch.search_space import NUM_STAGES, SearchSpace
from ofa_det.arch.subnet import BlockConfig, SubnetConfig

SPACE = SearchSpace()
TINY = SearchSpace(resolutions=(64, 96), depths=(1, 2), expand_ratios=(3,), kernel_sizes=(3, 5))


def enumerate_space(space: SearchSpace) -> set[SubnetConfig]:
    blocks = [BlockConfig(kernel_size=k, expand_ratio=e) for k in space.kernel_sizes for e in space.expand_ratios]
    stage_choices = [stage for depth in space.depths for stage in itertools.product(blocks, repeat=depth)]
    return {
        SubnetConfig(resolution=resolution, stages=stages)
        for resolution in space.resolutions
        for stages in itertools.product(stage_choices, repeat=NUM_STAGES)
    }


def test_count_equals_enumeration() -> None:
    subnets = enumerate_space(TINY)
    assert TINY.count() == len(subnets) == 2 * 6**5
    assert all(subnet in TINY for subnet in subnets)


def test_count_of_the_published_space() -> None:
    """Once-for-All, section 3.2: about 2 x 10^19 networks, before the resolutions."""
    published = SearchSpace(resolutions=(224,))
    assert published.count() == (9**2 + 9**3 + 9**4) ** 5
    assert 2e19 < published.count() < 3e19


def test_samples_are_inside_and_reach_every_choice() -> None:
    rng = random.Random(0)
    samples = [SPACE.sample(rng) for _ in range(300)]
    assert all(sample in SPACE for sample in samples)
    assert {s.resolution for s in samples} == set(SPACE.resolutions)
    assert {len(stage) for s in samples for stage in s.stages} == set(SPACE.depths)
    blocks = {block for s in samples for stage in s.stages for block in stage}
    assert len(blocks) == len(SPACE.kernel_sizes) * len(SPACE.expand_ratios)


def test_sample_at_a_resolution() -> None:
    assert {SPACE.sample(random.Random(seed), 256).resolution for seed in range(20)} == {256}


def test_sampling_is_a_function_of_the_random_state() -> None:
    assert SPACE.sample(random.Random(7)) == SPACE.sample(random.Random(7))


def test_mutants_stay_inside_and_change_about_as_often_as_told() -> None:
    rng = random.Random(1)
    parent = SPACE.sample(rng)
    mutants = [SPACE.mutate(parent, rng, probability=0.1) for _ in range(500)]
    assert all(mutant in SPACE for mutant in mutants)
    # A redraw picks the old resolution in one of five cases.
    changed = sum(mutant.resolution != parent.resolution for mutant in mutants) / len(mutants)
    assert changed == pytest.approx(0.1 * 4 / 5, abs=0.03)


def test_mutation_extremes() -> None:
    rng = random.Random(2)
    parent = SPACE.sample(rng)
    assert SPACE.mutate(parent, rng, probability=0) == parent
    assert SPACE.mutate(parent, rng, probability=1) != parent


def test_children_take_every_choice_from_a_parent() -> None:
    rng = random.Random(3)
    for _ in range(100):
        first, second = SPACE.sample(rng), SPACE.sample(rng)
        child = SPACE.crossover(first, second, rng)
        assert child in SPACE
        assert child.resolution in (first.resolution, second.resolution)
        for stage, a, b in zip(child.stages, first.stages, second.stages, strict=True):
            assert len(stage) in (len(a), len(b))
            for position, block in enumerate(stage):
                assert block in [parent[position] for parent in (a, b) if position < len(parent)]


def test_crossover_mixes_both_parents_and_is_closed_on_equal_ones() -> None:
    rng = random.Random(4)
    small, large = SPACE.smallest(), SPACE.largest()
    children = Counter(SPACE.crossover(small, large, rng).resolution for _ in range(200))
    assert 60 < children[small.resolution] < 140
    assert SPACE.crossover(large, large, rng) == large


def test_extremes() -> None:
    assert str(SPACE.smallest()) == "r192 " + " ".join(["k3e3.k3e3"] * 5)
    assert str(SPACE.largest(224)) == "r224 " + " ".join(["k7e6.k7e6.k7e6.k7e6"] * 5)
    assert SPACE.smallest() in SPACE
    assert SPACE.largest() in SPACE


@pytest.mark.parametrize(
    "text",
    [
        "r200 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3",
        "r192 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3",
        "r192 k3e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3",
        "r192 k3e5.k3e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3",
        "r192 k9e3.k3e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3",
    ],
)
def test_foreign_subnets_are_outside(text: str) -> None:
    assert SubnetConfig.parse(text) not in SPACE


def test_other_types_are_outside() -> None:
    assert "r192" not in SPACE


@pytest.mark.parametrize(
    "choices",
    [
        {"resolutions": ()},
        {"depths": (3, 2)},
        {"depths": (0, 2)},
        {"expand_ratios": (3, 3)},
        {"kernel_sizes": (3, 4)},
    ],
)
def test_broken_choices_are_refused_by_name(choices: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=next(iter(choices))):
        SearchSpace(**choices)
