import itertools
import random
from collections import Counter
from dataclasses import replace

import pytest
from spaces_by_hand import space, stage

from ofa_det.arch.layers import LayerSpec
from ofa_det.arch.levels import LevelSpec, NodeSpec
from ofa_det.arch.space import BackboneConfig, OneSubnet, SearchSpace, check_subnet
from ofa_det.arch.stages import OpenChoices, StageSpec
from ofa_det.arch.subnet import BlockConfig, SubnetConfig
from ofa_det.artefacts.configs import read_space

SPACE = read_space("ssdlite_mbv3")


FIXED = space(stage(), resolutions=(64,))
SMALL = space(
    stage(),
    stage(depths=(1, 2), kernel_sizes=(3, 5), expand_ratios=(3,)),
    stage(depths=(2,), kernel_sizes=(3,), expand_ratios=(2, 4), kinds=("inverted", "fused")),
)


COUPLED = space(
    stage(kernel_sizes=(3,)),
    stage(depths=(1, 3), kernel_sizes=(3, 5), expand_ratios=(2, 4), coupled=True),
    stage(depths=(1, 2), expand_ratios=(3, 6), kinds=("inverted", "fused"), coupled=True),
)


def enumerate_stage(spec: StageSpec) -> list[tuple[BlockConfig, ...]]:
    choices = itertools.product(spec.kernel_sizes, spec.expand_ratios, spec.kinds)
    block = [BlockConfig(kernel_size=k, expand_ratio=e, kind=kind) for k, e, kind in choices]
    found = [blocks for depth in spec.depths for blocks in itertools.product(block, repeat=depth)]
    if not spec.coupled:
        return found
    ratio_of = dict(zip(spec.depths, spec.expand_ratios, strict=True))
    return [blocks for blocks in found if {block.expand_ratio for block in blocks} == {ratio_of[len(blocks)]}]


def enumerate_space(of: SearchSpace) -> set[SubnetConfig]:
    stages = itertools.product(*map(enumerate_stage, of.stages))
    return {SubnetConfig(resolution=r, stages=blocks) for r, blocks in itertools.product(of.resolutions, stages)}


def test_count_equals_enumeration() -> None:
    subnets = enumerate_space(SMALL)
    assert SMALL.count() == len(subnets) == 2 * 1 * (2 + 2**2) * 4**2
    assert all(subnet in SMALL for subnet in subnets)


def test_a_coupled_space_holds_what_enumeration_holds() -> None:
    subnets = enumerate_space(COUPLED)
    assert COUPLED.count() == len(subnets) == 2 * (2 + 2**3) * (2 + 2**2)
    assert all(subnet in COUPLED for subnet in subnets)
    free = replace(
        COUPLED,
        backbone=replace(COUPLED.backbone, stages=tuple(replace(stage, coupled=False) for stage in COUPLED.stages)),
    )
    rng = random.Random(0)
    assert all((subnet in COUPLED) == (subnet in subnets) for subnet in (free.sample(rng) for _ in range(2000)))
    fixed = replace(read_space("compofa_mbv3"), resolutions=(224,)).restricted(OpenChoices(kernel_choices=1))
    assert fixed.count() == 3**5  # CompOFA, section 3


def test_count_of_the_published_space() -> None:
    """Once-for-All, section 3.2: about 2 x 10^19 networks, before the resolutions."""
    published = replace(read_space("ofa_mbv3_w1.0"), resolutions=(224,))
    assert published.count() == (9**2 + 9**3 + 9**4) ** 5
    assert 2e19 < published.count() < 3e19


def test_samples_reach_the_whole_space_and_nothing_else() -> None:
    rng = random.Random(0)
    for of in (SMALL, COUPLED):
        assert {of.sample(rng) for _ in range(3000)} == enumerate_space(of)


def test_first_stages_may_have_kernels_of_three_alone() -> None:
    first, later = stage(depths=(1, 2), expand_ratios=(3, 6)), stage(depths=(1, 2), kernel_sizes=(3, 5, 7))
    of = space(first, first, later)
    subnets = [of.largest(), of.smallest(), *(of.sample(random.Random(seed)) for seed in range(50))]
    assert {block.kernel_size for subnet in subnets for blocks in subnet.stages[:2] for block in blocks} == {3}
    assert {block.kernel_size for subnet in subnets for block in subnet.stages[2]} == {3, 5, 7}


def test_sample_at_a_resolution() -> None:
    assert {SPACE.sample(random.Random(seed), 256).resolution for seed in range(20)} == {256}


def test_the_same_random_state_gives_the_subnets_it_gave_before_stages_had_choices_of_their_own() -> None:
    rng = random.Random(7)
    first, second = SPACE.sample(rng), SPACE.sample(rng)
    assert str(first) == "r256 k3e1 k5e6.k3e3 k3e4.k7e3.k7e3.k3e3 k5e3.k3e3.k7e4 k7e3.k3e6 k7e3.k7e6.k5e3.k3e3"
    assert str(second) == "r320 k3e1 k5e4.k3e6 k7e4.k7e6 k3e6.k7e6 k5e3.k7e6 k7e3.k7e3"
    mutant, child = SPACE.mutate(first, rng, 0.3), SPACE.crossover(first, second, rng)
    assert str(mutant) == "r256 k3e1 k5e6.k3e3 k3e4.k7e3.k7e3.k3e3 k5e3.k5e3.k7e6.k7e4 k7e3.k3e3 k7e3.k7e6.k5e3.k3e3"
    assert str(child) == "r256 k3e1 k5e6.k3e6 k3e4.k7e3 k5e3.k3e3 k7e3.k3e6 k7e3.k7e3"
    assert rng.random() == 0.16636628247192053


def test_choices_without_alternative_take_nothing_from_the_random_state() -> None:
    rng = random.Random(0)
    state = rng.getstate()
    only = FIXED.sample(rng)
    assert FIXED.mutate(only, rng, probability=1) == only
    assert OneSubnet(subnet=only, resolutions=(64,)).sample(rng) == only
    assert FIXED.count() == 1
    assert rng.getstate() == state


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
    for of in (SMALL, COUPLED):
        assert {of.mutate(of.smallest(), rng, probability=1) for _ in range(3000)} == enumerate_space(of)


def test_operations_stay_inside_a_coupled_space() -> None:
    rng = random.Random(5)
    for of in (COUPLED, read_space("compofa_mbv3")):
        for _ in range(200):
            first, second = of.sample(rng), of.sample(rng)
            child = of.crossover(first, second, rng)
            results = [first, child, of.mutate(child, rng, 0.3), *of.larger_neighbours(child)]
            assert all(subnet in of for subnet in results)
            for blocks, a, b in zip(child.stages, first.stages, second.stages, strict=True):
                kernels = [{p[i].kernel_size for p in (a, b) if i < len(p)} for i in range(len(blocks))]
                assert len(blocks) in (len(a), len(b))
                assert all(block.kernel_size in known for block, known in zip(blocks, kernels, strict=True))


def test_children_take_every_choice_from_a_parent() -> None:
    rng = random.Random(3)
    for _ in range(100):
        first, second = SPACE.sample(rng), SPACE.sample(rng)
        child = SPACE.crossover(first, second, rng)
        assert child in SPACE
        assert child.resolution in (first.resolution, second.resolution)
        for blocks, a, b in zip(child.stages, first.stages, second.stages, strict=True):
            assert len(blocks) in (len(a), len(b))
            for position, block in enumerate(blocks):
                assert block in [parent[position] for parent in (a, b) if position < len(parent)]


def test_crossover_mixes_both_parents_and_is_closed_on_equal_ones() -> None:
    rng = random.Random(4)
    small, large = SPACE.smallest(), SPACE.largest()
    children = Counter(SPACE.crossover(small, large, rng).resolution for _ in range(200))
    assert 60 < children[small.resolution] < 140
    assert SPACE.crossover(large, large, rng) == large


def test_extremes() -> None:
    assert str(SPACE.smallest()) == "r192 k3e1 " + " ".join(["k3e3.k3e3"] * 5)
    assert str(SPACE.largest(224)) == "r224 k3e1 " + " ".join(["k7e6.k7e6.k7e6.k7e6"] * 5)
    assert str(SMALL.smallest()) == "r64 k3e1 k3e3 k3e2.k3e2"
    assert str(SMALL.largest()) == "r96 k3e1 k5e3.k5e3 k3e4f.k3e4f"
    assert str(COUPLED.smallest()) == "r64 k3e1 k3e2 k3e3"
    assert str(COUPLED.largest()) == "r96 k3e1 k5e4.k5e4.k5e4 k3e6f.k3e6f"


def test_larger_neighbours_by_hand() -> None:
    subnet = SubnetConfig.parse("r64 k3e1 k3e3 k3e2.k3e4f")
    assert set(map(str, SMALL.larger_neighbours(subnet))) == {
        "r64 k3e1 k3e3.k3e3 k3e2.k3e4f",
        "r64 k3e1 k5e3 k3e2.k3e4f",
        "r64 k3e1 k3e3 k3e4.k3e4f",
        "r64 k3e1 k3e3 k3e2f.k3e4f",
    }


def test_a_deeper_coupled_stage_is_wider_throughout() -> None:
    assert set(map(str, COUPLED.larger_neighbours(SubnetConfig.parse("r64 k3e1 k5e2 k3e6.k3e6f")))) == {
        "r64 k3e1 k5e4.k3e4.k3e4 k3e6.k3e6f",
        "r64 k3e1 k5e2 k3e6f.k3e6f",
    }


@pytest.mark.parametrize("of", [SPACE, SMALL, COUPLED], ids=["published", "small", "coupled"])
def test_steps_to_larger_neighbours_end_at_the_largest(of: SearchSpace) -> None:
    subnet = of.smallest()
    while neighbours := of.larger_neighbours(subnet):
        assert all(neighbour in of for neighbour in neighbours)
        assert len(set(neighbours)) == len(neighbours)
        subnet = neighbours[-1]
    assert subnet == of.largest(subnet.resolution)


def test_covering_is_small_and_inside() -> None:
    for of, most in ((SPACE, 1 + 3 * 3), (SMALL, 1 + 2 * 2 * 2), (COUPLED, 1 + 2 * 2 * 2), (FIXED, 2)):
        subnets = list(of.covering())
        assert subnets[0] == of.largest()
        assert len(subnets) <= most
        assert all(subnet in of for subnet in subnets)


def places(subnet: SubnetConfig) -> set[tuple[int, int, BlockConfig]]:
    """Each block with its stage and position."""
    return {(s, b, block) for s, blocks in enumerate(subnet.stages) for b, block in enumerate(blocks)}


@pytest.mark.parametrize("of", [SMALL, COUPLED], ids=["small", "coupled"])
def test_covering_has_every_block_at_every_place(of: SearchSpace) -> None:
    wanted = set().union(*map(places, enumerate_space(of)))
    assert set().union(*map(places, of.covering())) == wanted


OPEN = [
    OpenChoices(),
    OpenChoices(kernel_choices=1, depth_choices=1, expansion_choices=1, kind_choices=1),
    OpenChoices(depth_choices=1, expansion_choices=1, kind_choices=1),
    OpenChoices(depth_choices=2, expansion_choices=1),
    OpenChoices(expansion_choices=2),
    OpenChoices(kernel_choices=9),
]


@pytest.mark.parametrize("of", [SMALL, COUPLED], ids=["small", "coupled"])
@pytest.mark.parametrize("to", OPEN, ids=str)
def test_a_restricted_space_is_a_part_with_the_same_largest_subnet(of: SearchSpace, to: OpenChoices) -> None:
    part = of.restricted(to)
    assert part.largest() == of.largest()
    assert enumerate_space(part) <= enumerate_space(of)
    assert replace(part, backbone=of.backbone) == of
    assert part.restricted(to) == part


def test_the_largest_choices_stay_open() -> None:
    (first, *_, last) = SPACE.restricted(OpenChoices(depth_choices=2, expansion_choices=1)).stages
    assert (first.depths, first.kernel_sizes, first.expand_ratios) == ((1,), (3,), (1,))
    assert (last.depths, last.kernel_sizes, last.expand_ratios) == ((3, 4), (3, 5, 7), (6,))
    assert SPACE.restricted(OpenChoices()) == SPACE
    # A pair of a coupled stage is open if both its halves are.
    pairs = COUPLED.restricted(OpenChoices(depth_choices=2, expansion_choices=1)).stages[1]
    assert (pairs.depths, pairs.expand_ratios) == ((3,), (4,))
    assert enumerate_space(COUPLED.restricted(OPEN[1])) == {COUPLED.largest(64), COUPLED.largest(96)}
    one = OneSubnet(subnet=SPACE.largest(), resolutions=(192,))
    assert one.restricted(OPEN[1]) == one


@pytest.mark.parametrize("name", ["kernel_choices", "depth_choices", "expansion_choices", "kind_choices"])
def test_a_space_without_a_choice_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected {name} >= 1, the largest alone, or null for all, found 0"):
        OpenChoices(**{name: 0})


@pytest.mark.parametrize(
    "text",
    [
        "r80 k3e1 k3e3 k3e2.k3e2",
        "r64 k3e1 k3e3",
        "r64 k3e1 k3e3 k3e2",
        "r64 k3e1 k3e4 k3e2.k3e2",
        "r64 k3e1 k7e3 k3e2.k3e2",
        "r64 k3e1 k3e3f k3e2.k3e2",
        "r64 k5e1 k3e3 k3e2.k3e2",
    ],
)
def test_foreign_subnets_are_outside(text: str) -> None:
    assert SMALL.smallest() in SMALL
    assert SubnetConfig.parse(text) not in SMALL
    assert text not in SMALL


@pytest.mark.parametrize("text", ["r64 k3e1 k3e4 k3e3", "r64 k3e1 k3e2.k3e2 k3e3", "r64 k3e1 k3e2 k3e6.k3e3"])
def test_subnets_of_other_pairs_are_outside_a_coupled_space(text: str) -> None:
    assert SubnetConfig.parse(text) not in COUPLED


def test_a_subnet_may_have_any_resolution_but_no_other_stages() -> None:
    check_subnet(SMALL.largest(80), SMALL, of="small")
    for foreign in ("r64 k3e1 k3e3", "r64 k3e1 k7e3 k3e2.k3e2"):
        with pytest.raises(ValueError, match=f"a subnet of small, such as r64 k3e1 k3e3 k3e2.k3e2, found {foreign}"):
            check_subnet(SubnetConfig.parse(foreign), SMALL, of="small")


def test_one_subnet_is_a_space_of_one() -> None:
    subnet = SPACE.largest(224)
    one = OneSubnet(subnet=subnet, resolutions=(192, 256))
    assert one.largest() == one.smallest() == subnet
    assert one.largest(192) == one.smallest(192) == one.sample(random.Random(0), 192) == SPACE.largest(192)
    samples = {one.sample(random.Random(seed)) for seed in range(20)}
    assert samples == {SPACE.largest(192), SPACE.largest(256)}
    assert all(sample in one for sample in (subnet, *samples))
    assert SPACE.smallest() not in one


@pytest.mark.parametrize(
    "choices",
    [
        {"depths": (3, 2)},
        {"depths": (0, 2)},
        {"depths": ()},
        {"depths": (1, 2**31)},
        {"expand_ratios": (3, 3)},
        {"kernel_sizes": (3, 4)},
        {"kinds": ()},
        {"kinds": ("fused", "fused")},
        {"width": 0},
        {"stride": 0},
        {"depths": (1, 2), "expand_ratios": (3,), "coupled": True},
    ],
)
def test_broken_choices_are_refused_by_name(choices: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(choices))):
        stage(**choices)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolutions": (96, 64)}, "resolutions"),
        ({"levels": ()}, "at least one level"),
        (
            {"levels": (LevelSpec(feature="last", stride=32), LevelSpec(feature="stem", stride=2))},
            r"levels by ascending stride, found \[32, 2\]",
        ),
        ({"neck": (NodeSpec(name="a", width=8), NodeSpec(name="a", width=16))}, "distinct names in the neck"),
        ({"neck": (NodeSpec(name="a.b", width=8), NodeSpec(name="a_b", width=8))}, r"found \['a\.b', 'a_b'\]"),
        ({"neck": (NodeSpec(name="a.b", width=8), NodeSpec(name="a", width=8))}, "found 'a'; call it a.out"),
    ],
)
def test_broken_spaces_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space(stage(), **changes)


def test_broken_backbones_are_refused() -> None:
    stem = LayerSpec(width=8)
    with pytest.raises(ValueError, match="at least one stage"):
        BackboneConfig(stem=stem, stages=())
    with pytest.raises(ValueError, match="last to be a conv, found depthwise"):
        BackboneConfig(stem=stem, stages=(stage(),), last=LayerSpec(kind="depthwise"))
