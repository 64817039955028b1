import pytest

from ofa_det.arch.search_space import SearchSpace
from ofa_det.training.schedule import ScheduleConfig, sandwich

SPACE = SearchSpace(resolutions=(64, 96), depths=(1, 2))


def test_learning_rate_warms_up_to_its_peak_and_falls_to_zero():
    schedule = ScheduleConfig(num_images=1000, batch_size=10, warmup_images=100, learning_rate=1.0)
    rates = [schedule.learning_rate_at(step) for step in range(schedule.num_steps)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_short_memory_at_the_start():
    schedule = ScheduleConfig(ema_decay=0.99)
    assert schedule.ema_decay_at(0) == pytest.approx(0.1)
    assert schedule.ema_decay_at(10_000) == 0.99


def test_the_sandwich_shares_one_resolution_and_the_largest_teaches():
    for step in range(20):
        first, *others = sandwich(SPACE, step, random_subnets=2, seed=0)
        assert first == SPACE.largest(first.resolution)
        assert others[-1] == SPACE.smallest(first.resolution)
        assert {subnet.resolution for subnet in others} == {first.resolution}
        assert all(subnet in SPACE for subnet in others)


def test_the_sandwich_is_a_function_of_step_and_seed():
    assert sandwich(SPACE, 7, random_subnets=2, seed=1) == sandwich(SPACE, 7, random_subnets=2, seed=1)
    assert len({sandwich(SPACE, step, random_subnets=1, seed=1) for step in range(10)}) > 5


def test_a_space_of_one_subnet_trains_it_once():
    space = SearchSpace(resolutions=(64,), depths=(1,), expand_ratios=(3,), kernel_sizes=(3,))
    assert sandwich(space, 0, random_subnets=3, seed=0) == (space.largest(),)


@pytest.mark.parametrize("mistake", [{"batch_size": 0}, {"learning_rate": 0}, {"ema_decay": 1.0}, {"weight_decay": -1}])
def test_mistakes_are_named(mistake):
    with pytest.raises(ValueError, match=next(iter(mistake))):
        ScheduleConfig(**mistake)
