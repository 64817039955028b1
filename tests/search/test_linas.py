import numpy as np
import pytest

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.search.baselines import MOBILENET_V3, baselines, controls, nearest
from ofa_det.search.linas import Linas, LinasConfig
from ofa_det.search.nsga2 import NsgaConfig, crowding, explore, front_numbers
from ofa_det.search.objective import Limits, Objective
from ofa_det.search.predictor import ApPredictor, Pretraining
from ofa_det.search.random_search import RandomConfig, RandomSearch

FEW = NsgaConfig(population=40, generations=8)


def linas(problem, seed: int = 0, **options) -> Linas:
    return Linas(problem, config=LinasConfig(**{"first": 12, "batch": 6, "nsga": FEW} | options), seed=seed)


def test_fronts_and_crowding_by_hand() -> None:
    points = np.array([[1.0, 5.0], [2.0, 2.0], [2.0, 6.0], [3.0, 3.0], [4.0, 1.0], [4.0, 7.0]])
    assert front_numbers(points).tolist() == [0, 0, 1, 1, 0, 2]
    line = np.array([[0.0, 4.0], [1.0, 2.0], [4.0, 0.0]])
    assert crowding(line).tolist() == [np.inf, 2.0, np.inf]


def test_the_front_is_found_among_each_subnet_once(toy) -> None:
    """With the true score in place of a predictor."""
    problem = toy.problem(10.0, 20.0)

    def score(genes, costs):
        return np.array([toy.score(subnet) for subnet in problem.coding.decode(genes)])

    start = problem.coding.encode([toy.space.smallest(64)])
    visited = explore(
        problem, score, start, config=NsgaConfig(population=40, generations=15), rng=np.random.default_rng(0)
    )
    assert len(np.unique(visited.genes, axis=0)) == len(visited) > 300
    np.testing.assert_allclose(visited.costs[:, 1], [toy.latency(s) for s in problem.coding.decode(visited.genes)])
    drawn = problem.coding.sample(np.random.default_rng(1), len(visited))
    costs = problem.table(drawn)
    for cap in problem.caps_ms:
        best = problem.values(visited.scores, visited.costs, cap).max()
        assert best > problem.values(score(drawn, costs), costs, cap).max()


def test_a_predictor_pretrained_on_free_statistics_needs_fewer_measurements(toy) -> None:
    problem = toy.problem(30.0)
    genes = problem.coding.sample(np.random.default_rng(0), 220)
    costs, ap = problem.table(genes), np.array([toy.score(s) for s in problem.coding.decode(genes)])
    pretraining = Pretraining(problem, seed=0)
    predictor = ApPredictor.fit(pretraining, genes[:20], costs[:20], ap[:20])
    error = np.abs(predictor(genes[20:], costs[20:]) - ap[20:]).mean()
    plain = problem.coding.features(genes)
    coefficients, *_ = np.linalg.lstsq(plain[:20] - plain[:20].mean(0), ap[:20] - ap[:20].mean(), rcond=None)
    unaware = np.abs((plain[20:] - plain[:20].mean(0)) @ coefficients + ap[:20].mean() - ap[20:]).mean()
    assert error < 0.5 * unaware
    drawn = predictor.drawn(np.random.default_rng(0))
    assert not np.array_equal(drawn(genes, costs), predictor(genes, costs))


def test_it_beats_random_search_at_equal_measurements(toy) -> None:
    problem = toy.problem(10.0, 20.0)
    seeds = range(2)
    found = {
        "linas": [toy.run(linas(problem, seed=seed), most=36) for seed in seeds],
        "random": [toy.run(RandomSearch(problem, config=RandomConfig(), seed=seed), most=36) for seed in seeds],
    }
    for evaluations in found["linas"] + found["random"]:
        assert len({e.subnet for e in evaluations}) == len(evaluations) == 36
        assert all(problem.allows(e.subnet) for e in evaluations)
    for cap in problem.caps_ms:
        mean = {n: np.mean([problem.best(evaluations, cap)[0].ap for evaluations in runs]) for n, runs in found.items()}
        assert mean["linas"] > mean["random"]


def test_shares_of_blocks_by_hand(toy) -> None:
    coding = toy.problem().coding
    text = "r64 k3e1 k5e3.k5e6 k3e3.k7e3 k3e3.k3e4 k3e3.k3e3 k3e3.k3e3.k3e6"
    (found,) = coding.shares(coding.encode([SubnetConfig.parse(text)]))
    # 5x5, 7x7, ratios of 4 and of 6, of twelve blocks.
    assert found.tolist() == pytest.approx([2 / 12, 1 / 12, 1 / 12, 2 / 12])


@pytest.mark.parametrize("asked_at_once", [1, 5])
def test_what_is_asked_does_not_depend_on_how_many_at_once(toy, asked_at_once: int) -> None:
    problem = toy.problem(10.0, 20.0)
    assert toy.run(linas(problem), lambda: asked_at_once, 30) == toy.run(linas(problem), most=30)


def test_predictions_are_kept_of_what_was_asked_for_behind_a_fit(toy) -> None:
    strategy = linas(toy.problem(20.0))
    found = toy.run(strategy, most=24)
    assert list(strategy.predicted) == [evaluation.subnet for evaluation in found[12:]]
    with pytest.raises(ValueError, match="that were asked for"):
        strategy.tell(toy.evaluate([toy.space.smallest(96)]))


def test_random_subnets_lie_near_the_caps(toy) -> None:
    problem = toy.problem(10.0, 20.0)
    found = toy.run(RandomSearch(problem, config=RandomConfig(), seed=0), most=40)
    assert len({e.subnet for e in found}) == 40
    assert sum(e.at_most_ms > 10 for e in found) == 20
    assert sum(e.at_most_ms >= 0.75 * 20 or 0.75 * 10 <= e.at_most_ms <= 10 for e in found) >= 34


def test_the_largest_under_a_cap_cannot_be_enlarged_and_baselines_are_known_ones(toy) -> None:
    problem = toy.problem(10.0, 20.0, limits=Limits(mparameters=0.0019))
    for cap, subnet in controls(problem, seed=0).items():
        assert toy.latency(subnet) <= cap
        assert problem.allows(subnet, cap)
        larger = toy.space.larger_neighbours(subnet)
        assert not any(problem.allows(s, cap) and toy.latency(s) > toy.latency(subnet) for s in larger)
    named = baselines(problem)
    assert named[toy.space.smallest()] == "smallest"
    assert named[toy.space.largest()] == "largest"
    uniform = [subnet for subnet, name in named.items() if name == "uniform"]
    assert uniform
    assert {subnet.resolution for subnet in uniform} == {96}


def test_objectives_by_hand() -> None:
    ap, ms = np.array([0.2, 0.3]), np.array([30.0, 60.0])

    def values(kind: str) -> list[float]:
        return Objective(kind=kind).values(ap, latency_ms=ms, at_most_ms=ms, cap_ms=30.0).tolist()

    assert values("ap") == [0.2, 0.3]
    assert values("soft") == pytest.approx([0.2, 0.3 * 2**-0.07])
    assert values("frontier") == pytest.approx([20 - 23.04, 30 - 34.75], abs=0.01)
    with pytest.raises(ValueError, match="an objective of ap, soft, frontier, found 'accuracy'"):
        Objective(kind="accuracy")
    with pytest.raises(ValueError, match="expected mmacs > 0 or null, found 0"):
        Limits(mmacs=0)


@pytest.mark.parametrize(
    ("space", "name", "stages"),
    [
        ("ofa_mbv3_w1.0", "Large", "k3e1 k3e4.k3e3 k5e3.k5e3.k5e3 k3e6.k3e3.k3e3.k3e3 k3e6.k3e6 k5e6.k5e6.k5e6"),
        ("ofa_mbv3_w1.0", "Small", "k3e1 k3e3.k3e3 k3e4.k3e4 k5e4.k5e6.k5e6 k5e3.k5e3 k5e6.k5e6.k5e6"),
        # No 5x5 kernels.
        ("dsp", "Large", "k3e1 k3e4.k3e3 k3e3.k3e3.k3e3 k3e6.k3e3.k3e3.k3e3 k3e6.k3e6 k3e6.k3e6.k3e6"),
        # A stage more at stride 32 than the published network has: the smallest.
        ("efficientnet_lite0", "Large", "k3e1 k3e4.k3e3 k5e3.k5e3 k3e6.k3e3.k3e3 k3e6.k3e6 k5e6.k5e6.k5e6 k3e3"),
        # The ratio follows from the depth.
        ("compofa_mbv3", "Large", "k3e1 k3e3.k3e3 k5e4.k5e4.k5e4 k3e6.k3e6.k3e6.k3e6 k3e3.k3e3 k5e4.k5e4.k5e4"),
    ],
)
def test_mobilenet_v3_in_a_space_is_what_comes_nearest(space: str, name: str, stages: str) -> None:
    where = read_space(space)
    found = nearest(where, f"MobileNetV3-{name}", where.resolutions[1])
    assert found == SubnetConfig.parse(f"r{where.resolutions[1]} {stages}")
    assert found in where


def test_mobilenet_v3_is_among_the_baselines_of_every_space(toy) -> None:
    roles = baselines(toy.problem())
    for name in MOBILENET_V3:
        assert roles[nearest(toy.space, name, 96)] == f"nearest to {name}"
