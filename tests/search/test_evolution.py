import random
from dataclasses import replace

import pytest

from ofa_det.arch.space import SearchSpace, StageSpec
from ofa_det.search.costs import Costs
from ofa_det.search.evolution import Evolution, EvolutionConfig
from ofa_det.search.problem import SearchProblem


def narrowed(space: SearchSpace, **choices: tuple[int, ...]) -> SearchSpace:
    """At 64 px, every stage but the fixed first one with these choices alone."""
    first, *others = space.stages
    stages: list[StageSpec] = [replace(stage, **choices) for stage in others]
    return replace(space, resolutions=(64,), backbone=replace(space.backbone, stages=(first, *stages)))


@pytest.fixture
def narrow(toy):
    """Two kernel sizes in each of five stages: 32 subnets."""
    return type(toy)(narrowed(toy.space, depths=(1,), expand_ratios=(3,), kernel_sizes=(3, 5)))


def test_asks_for_distinct_subnets_of_the_space_under_the_cap(toy) -> None:
    found = toy.search()
    assert len(found) == 20 + 5 * 20
    assert len({evaluation.subnet for evaluation in found}) == len(found)
    assert all(evaluation.subnet in toy.space and evaluation.at_most_ms <= 20 for evaluation in found)


def test_same_seed_gives_the_same_sequence_and_another_seed_another(toy) -> None:
    assert toy.search(seed=3) == toy.search(seed=3) != toy.search(seed=4)


@pytest.mark.parametrize("asked_at_once", [1, 3, 20, 1000])
def test_what_is_asked_does_not_depend_on_how_many_at_once(toy, asked_at_once: int) -> None:
    assert toy.search(lambda: asked_at_once, generations=3) == toy.search(generations=3)


def test_nor_on_numbers_that_change(toy) -> None:
    rng = random.Random(0)
    assert toy.search(lambda: rng.randint(1, 30)) == toy.search()


def test_a_generation_ends_before_the_next_begins(toy) -> None:
    strategy = toy.evolution(generations=2)
    sizes = []
    while asked := strategy.ask(15):
        sizes.append(len(asked))
        strategy.tell(toy.evaluate(asked))
    assert sizes == [15, 5] * 3
    assert strategy.ask(15) == []


def test_children_descend_from_the_best(toy) -> None:
    """With mutation alone, and of one choice in a hundred, a child is nearly one of the parents."""
    strategy = toy.evolution(generations=1, mutation_ratio=1, mutation_probability=0.01, parent_ratio=0.1)
    first = toy.evaluate(strategy.ask(100))
    strategy.tell(first)
    parents = [evaluation.subnet for evaluation in sorted(first, key=lambda evaluation: evaluation.rank)[:2]]
    children = strategy.ask(100)
    assert len(children) == 20

    def differences(child, parent) -> int:
        pairs = zip(child.stages, parent.stages, strict=True)
        return sum(a != b for a, b in pairs) + (child.resolution != parent.resolution)

    nearest = [min(differences(child, parent) for parent in parents) for child in children]
    assert sum(nearest) / len(nearest) < 1.5


def test_asking_before_telling_is_refused(toy) -> None:
    strategy = toy.evolution()
    asked = strategy.ask(4)
    with pytest.raises(ValueError, match="evaluation of every subnet asked for, found none of 4"):
        strategy.ask(1)
    strategy.tell(toy.evaluate(asked[:3]))
    with pytest.raises(ValueError, match="found none of 1"):
        strategy.ask(1)
    with pytest.raises(ValueError, match="subnets that were asked for, found one of r96 "):
        strategy.tell(toy.evaluate([asked[3], toy.space.smallest(96)]))
    with pytest.raises(ValueError, match="found none of 1"):  # Nothing of a refused call was taken.
        strategy.ask(1)
    strategy.tell(toy.evaluate(asked[3:]))
    assert len(strategy.ask(1)) == 1


def test_generations_improve_on_the_initial_population(toy) -> None:
    found = toy.search(generations=10)
    best = max(evaluation.ap for evaluation in found)
    assert best > max(evaluation.ap for evaluation in found[:20])
    assert best > max(evaluation.ap for evaluation in toy.search(population=220, generations=0))


def test_the_best_of_all_is_found(narrow) -> None:
    """Of 32 subnets under a cap that leaves out the largest, though only half are scored."""
    cap = narrow.latency(narrow.space.largest()) - 0.01
    every = narrow.search(cap=cap, population=40, generations=50)
    best = max(evaluation.ap for evaluation in every)
    found = [max(e.ap for e in narrow.search(cap=cap, seed=seed, population=4, generations=3)) for seed in range(5)]
    assert found.count(best) >= 4


def test_the_most_evaluations_are_told(toy) -> None:
    settings = {"population": 7, "generations": 2}
    assert len(toy.search(**settings)) == 21 == toy.evolution(**settings).most_evaluations


def test_the_identity_is_what_decides_which_subnets_are_asked_for(toy) -> None:
    identity = toy.evolution(seed=3).identity
    assert (identity["seed"], identity["evolution.population"]) == (3, 20)
    assert toy.evolution(seed=3, generations=9).identity == identity
    assert toy.evolution(seed=4).identity != identity != toy.evolution(seed=3, min_fill=0.5).identity


def test_an_exhausted_space_ends_the_search(narrow) -> None:
    found = narrow.search(population=40, generations=50)
    assert len({evaluation.subnet for evaluation in found}) == len(found) <= narrow.space.count() == 32
    assert len(found) > 16


def test_a_single_feasible_subnet(toy) -> None:
    cap = toy.latency(toy.space.smallest(64))
    assert [evaluation.subnet for evaluation in toy.search(cap=cap)] == [toy.space.smallest(64)]


def test_an_infeasible_cap_is_refused_before_anything_is_asked(toy) -> None:
    with pytest.raises(ValueError, match="expected a latency cap of at least"):
        toy.evolution(cap=1)


def test_the_costs_of_a_subnet_are_computed_once(toy) -> None:
    computed = []

    def costs(subnet) -> Costs:
        computed.append(subnet)
        return toy.costs(subnet)

    problem = SearchProblem(space=toy.space, costs_of=costs, caps_ms=(20.0,))
    strategy = Evolution(problem, config=EvolutionConfig(population=20, generations=1), seed=0)
    strategy.tell(toy.evaluate(strategy.ask(100)))
    strategy.ask(100)
    assert len(computed) == len(set(computed))


def test_each_cap_has_its_share_of_every_generation(toy) -> None:
    strategy = Evolution(toy.problem(10.0, 20.0, 30.0), config=EvolutionConfig(population=30, generations=1), seed=0)
    for _ in range(2):
        generation = toy.evaluate(strategy.ask(100))
        strategy.tell(generation)
        assert len(generation) == 30
        assert sum(evaluation.at_most_ms <= 10 for evaluation in generation) >= 10
        assert sum(10 < evaluation.at_most_ms <= 20 for evaluation in generation) >= 5
        assert sum(20 < evaluation.at_most_ms <= 30 for evaluation in generation) >= 5


def test_what_is_known_before_the_first_question_makes_parents_and_is_not_asked_for(toy) -> None:
    known = toy.evaluate([toy.space.largest(), *toy.evolution(seed=9).ask(20)])
    strategy = toy.evolution(mutation_ratio=1, mutation_probability=0.01, parent_ratio=0.1)
    strategy.tell(known)
    first = toy.evaluate(strategy.ask(100))
    assert not {e.subnet for e in known} & {e.subnet for e in first}
    strategy.tell(first)
    best = toy.problem(20.0).best([*known, *first], 20.0)[:2]
    assert all(evaluation.at_most_ms <= 20 for evaluation in best)
    children = strategy.ask(100)
    assert sum(any(child.resolution == e.subnet.resolution for e in best) for child in children) >= 18


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("population", 0),
        ("generations", -1),
        ("parent_ratio", 0.0),
        ("mutation_ratio", 1.5),
        ("mutation_probability", 0.0),
        ("min_fill", -0.1),
    ],
)
def test_config_is_validated(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{field}.*found {value}"):
        EvolutionConfig(**{field: value})
