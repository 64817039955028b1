import pytest

from ofa_det.arch.search_space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.search.evolution import Candidate, EvolutionConfig, evolve

SPACE = SearchSpace(resolutions=(64, 96, 128))


def latency(subnet: SubnetConfig) -> float:
    """Grows with every choice, like a phone's."""
    blocks = sum(4 * b.expand_ratio + b.kernel_size for stage in subnet.stages for b in stage)
    return (subnet.resolution / 64) ** 2 * blocks / 40


def score(subnet: SubnetConfig) -> float:
    """Capacity with falling returns, and a taste for 5x5 kernels: the best subnets lie near a cap, not on one gene."""
    fives = sum(b.kernel_size == 5 for stage in subnet.stages for b in stage)
    return 1 - 1 / latency(subnet) ** 0.5 + 0.01 * fives


def search(cap: float = 20, seed: int = 0, space: SearchSpace = SPACE, **config: float) -> list[Candidate]:
    settings = EvolutionConfig(**({"population": 20, "generations": 5} | config))
    return list(evolve(space, score=score, latency=latency, latency_cap_ms=cap, config=settings, seed=seed))


def test_scores_only_distinct_subnets_of_the_space_under_the_cap() -> None:
    found = search()
    assert len(found) == 20 + 5 * 20
    assert len({candidate.subnet for candidate in found}) == len(found)
    assert all(candidate.subnet in SPACE and candidate.latency_ms <= 20 for candidate in found)
    assert all(candidate.latency_ms == latency(candidate.subnet) for candidate in found)
    assert all(candidate.ap == score(candidate.subnet) for candidate in found)


def test_same_seed_gives_the_same_sequence_and_another_seed_another() -> None:
    assert search(seed=3) == search(seed=3)
    assert search(seed=3) != search(seed=4)


def test_generations_improve_on_the_initial_population() -> None:
    found = search(generations=10)
    best = max(candidate.ap for candidate in found)
    assert best > max(candidate.ap for candidate in found[:20])
    assert best > max(search(population=220, generations=0), key=lambda candidate: candidate.ap).ap


def test_initial_population_is_spread_over_resolutions_and_near_the_cap() -> None:
    initial = search(cap=20, generations=0, population=30)
    assert {candidate.subnet.resolution for candidate in initial} == set(SPACE.resolutions)
    reach = {r: min(20, latency(SPACE.largest(r))) for r in SPACE.resolutions}
    fills = sorted(candidate.latency_ms / reach[candidate.subnet.resolution] for candidate in initial)
    # A path's steps are coarse, so a few candidates may fall just short of the band.
    assert fills[len(fills) // 10] >= 0.75
    assert fills[-1] > 0.97
    assert len({round(fill, 2) for fill in fills}) > 10


def test_first_candidates_cannot_be_enlarged_under_the_cap() -> None:
    first = search(cap=30, generations=0, population=3)
    assert [candidate.subnet.resolution for candidate in first] == [128, 96, 64]
    assert first[2].subnet == SPACE.largest(64)
    assert all(candidate.latency_ms > 29 for candidate in first[:2])


def test_resolutions_over_the_cap_are_left_out() -> None:
    cap = latency(SPACE.smallest(64)) + 1
    assert {candidate.subnet.resolution for candidate in search(cap=cap)} == {64}


def test_infeasible_cap_names_the_smallest_latency_before_any_scoring() -> None:
    def refuse(subnet: SubnetConfig) -> float:
        raise AssertionError(subnet)

    smallest = latency(SPACE.smallest())
    with pytest.raises(ValueError, match=rf"at least {smallest:.2f} ms.*64 px.*found 1 ms"):
        evolve(SPACE, score=refuse, latency=latency, latency_cap_ms=1, config=EvolutionConfig(), seed=0)


def test_budget_ends_the_search_early_with_a_prefix_of_the_longer_one() -> None:
    assert search(max_evaluations=33) == search()[:33]


def test_exhausted_space_ends_the_search() -> None:
    tiny = SearchSpace(resolutions=(64,), depths=(1,), expand_ratios=(3,), kernel_sizes=(3, 5))
    found = search(space=tiny, population=40, generations=50)
    assert {candidate.subnet for candidate in found} <= {c.subnet for c in search(space=tiny, cap=99, population=40)}
    assert len(found) <= tiny.count() == 32
    assert len(found) > 16


def test_single_feasible_subnet() -> None:
    cap = latency(SPACE.smallest(64))
    assert [candidate.subnet for candidate in search(cap=cap)] == [SPACE.smallest(64)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("population", 0),
        ("generations", -1),
        ("parent_ratio", 0.0),
        ("mutation_ratio", 1.5),
        ("mutation_probability", 0.0),
        ("min_fill", -0.1),
        ("max_evaluations", 0),
    ],
)
def test_config_is_validated(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{field}.*found {value}"):
        EvolutionConfig(**{field: value})
