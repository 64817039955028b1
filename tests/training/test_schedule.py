import pytest

from ofa_det.arch.space import OneSubnet, SearchSpace
from ofa_det.training.schedule import ScheduleConfig, sandwich


def test_learning_rate_warms_up_to_its_peak_and_falls_to_zero() -> None:
    schedule = ScheduleConfig(num_images=1000, batch_size=10, warmup_images=100, learning_rate=1.0)
    rates = [schedule.learning_rate_at(step) for step in range(schedule.num_steps)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize("decay", [0.9, 0.998, 0.0])
def test_the_average_weighs_each_step_by_the_decay_to_the_power_of_its_age(decay: float) -> None:
    schedule = ScheduleConfig(ema_decay=decay)
    weights = [1.0]  # of the values before the first step, then of those after each
    for step in range(3):
        kept = schedule.ema_decay_at(step)
        weights = [kept * weight for weight in weights] + [1 - kept]
    total = 1 + decay + decay**2
    assert weights == pytest.approx([0, decay**2 / total, decay / total, 1 / total], abs=1e-9)


def test_a_long_average_has_the_decay_itself() -> None:
    assert ScheduleConfig(ema_decay=0.99).ema_decay_at(10_000) == pytest.approx(0.99, abs=1e-12)


@pytest.mark.parametrize(
    ("closing_images", "steps"),
    [(0, []), (3, []), (4, [9]), (9, [8, 9]), (40, list(range(10))), (999, list(range(10)))],
)
def test_the_last_whole_batches_of_closing_images_are_the_closing_phase(closing_images: int, steps: list[int]) -> None:
    schedule = ScheduleConfig(num_images=42, batch_size=4, closing_images=closing_images)
    assert schedule.num_steps == 10
    assert [step for step in range(10) if schedule.phase_at(step) == "closing"] == steps


def test_a_training_of_less_than_a_batch_is_one_step() -> None:
    assert ScheduleConfig(num_images=3, batch_size=4).num_steps == 1


def test_the_sandwich_shares_one_resolution_and_the_largest_teaches(tiny_space: SearchSpace) -> None:
    for step in range(20):
        first, *others = sandwich(tiny_space, step, random_subnets=2, seed=0)
        assert first == tiny_space.largest(first.resolution)
        assert others[-1] == tiny_space.smallest(first.resolution)
        assert {subnet.resolution for subnet in others} == {first.resolution}
        assert all(subnet in tiny_space for subnet in others)


def test_the_sandwich_is_a_function_of_step_and_seed(tiny_space: SearchSpace) -> None:
    first = [sandwich(tiny_space, step, random_subnets=1, seed=1) for step in range(10)]
    assert first == [sandwich(tiny_space, step, random_subnets=1, seed=1) for step in range(10)]
    assert first != [sandwich(tiny_space, step, random_subnets=1, seed=2) for step in range(10)]
    assert len(set(first)) > 5


def test_one_subnet_trains_once_a_step_at_each_of_its_resolutions(tiny_space: SearchSpace) -> None:
    one = OneSubnet(subnet=tiny_space.largest(96), resolutions=(64, 96))
    steps = [sandwich(one, step, random_subnets=3, seed=0) for step in range(20)]
    assert set(steps) == {(tiny_space.largest(64),), (tiny_space.largest(96),)}


@pytest.mark.parametrize(
    "mistake",
    [
        {"num_images": 0},
        {"batch_size": 1},
        {"learning_rate": 0},
        {"ema_decay": 1.0},
        {"weight_decay": -1},
        {"closing_images": -1},
    ],
)
def test_mistakes_are_named(mistake: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(mistake))):
        ScheduleConfig(**mistake)
