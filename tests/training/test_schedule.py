from dataclasses import fields

import pytest

from ofa_det.arch.space import OneSubnet, SearchSpace
from ofa_det.arch.stages import OpenChoices
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import configs_folder, read_config, read_space
from ofa_det.artefacts.records import read_yaml
from ofa_det.detection.losses import LossConfig
from ofa_det.training.config import TrainConfig
from ofa_det.training.schedule import PhaseConfig, ScheduleConfig, SubnetRule, draw_subnets, sandwich


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


def step(subnets: SearchSpace | OneSubnet, rule: SubnetRule, number: int, count: int = 2) -> tuple[SubnetConfig, ...]:
    """The subnets that train at a step; checks what is common to all rules."""
    drawn = draw_subnets(subnets, number, rule=rule, random_subnets=count, seed=0)
    assert drawn == draw_subnets(subnets, number, rule=rule, random_subnets=count, seed=0)
    assert {subnet.resolution for subnet in drawn.trained} == {drawn.resolution}
    assert len(set(drawn.trained)) == len(drawn.trained)
    assert all(subnet in subnets for subnet in drawn.trained)
    # Whoever teaches is the largest.
    teacher = drawn.teacher or (drawn.trained[0] if len(drawn.trained) > 1 else None)
    assert teacher in (None, subnets.largest(drawn.resolution))
    return drawn.trained


def test_the_rules_train_as_many_subnets_as_they_say(tiny_space: SearchSpace) -> None:
    steps = range(20)
    assert {len(step(tiny_space, "sandwich", n)) for n in steps} == {4}
    assert {len(step(tiny_space, "largest_and_one", n)) for n in steps} == {2}
    assert {len(step(tiny_space, "alternating", n)) for n in steps} == {1}
    assert {len(step(tiny_space, "random", n)) for n in steps} == {2}
    assert [step(tiny_space, "sandwich", n) for n in steps] == [
        sandwich(tiny_space, n, random_subnets=2, seed=0) for n in steps
    ]


def test_the_largest_and_a_random_subnet_take_turns(tiny_space: SearchSpace) -> None:
    drawn = [step(tiny_space, "alternating", n)[0] for n in range(20)]
    assert [subnet == tiny_space.largest(subnet.resolution) for subnet in drawn] == [True, False] * 10
    assert len(set(drawn[1::2])) == 10


def test_random_subnets_have_a_teacher_that_does_not_train_unless_it_is_drawn(tiny_space: SearchSpace) -> None:
    apart = draw_subnets(tiny_space, 0, rule="random", random_subnets=4, seed=0)
    assert apart.teacher == tiny_space.largest(apart.resolution)
    assert apart.teacher not in apart.trained
    few = tiny_space.restricted(OpenChoices(depth_choices=1, expansion_choices=1))
    part = few.restricted(OpenChoices(kernel_choices=1))
    assert draw_subnets(part, 0, rule="random", random_subnets=4, seed=0).trained == (part.largest(apart.resolution),)
    assert draw_subnets(part, 0, rule="random", random_subnets=4, seed=0).teacher is None


@pytest.mark.parametrize("rule", ["sandwich", "largest_and_one", "alternating", "random"])
def test_one_subnet_trains_under_every_rule(tiny_space: SearchSpace, rule: SubnetRule) -> None:
    one = OneSubnet(subnet=tiny_space.largest(96), resolutions=(64, 96))
    assert {step(one, rule, n) for n in range(20)} == {(tiny_space.largest(64),), (tiny_space.largest(96),)}


PROGRESSIVE = ScheduleConfig(
    num_images=260,
    batch_size=8,
    learning_rate=1.0,
    warmup_images=16,
    phases=(
        PhaseConfig(num_images=100, kernel_choices=1, depth_choices=1, expansion_choices=1, random_subnets=0),
        PhaseConfig(
            num_images=60,
            depth_choices=1,
            expansion_choices=1,
            learning_rate=0.5,
            warmup_images=0,
            subnets="random",
            random_subnets=3,
            distill_weight=0.5,
        ),
        PhaseConfig(num_images=100, subnets="largest_and_one", distillation="replaces", sort_channels=True),
    ),
)


def test_phases_follow_on_each_other() -> None:
    assert (PROGRESSIVE.num_steps, PROGRESSIVE.first_steps) == (32, (0, 12, 20))
    phases = [PROGRESSIVE.phases.index(PROGRESSIVE.shrinking_phase_at(step)) for step in range(32)]
    assert phases == [0] * 12 + [1] * 8 + [2] * 12
    assert [step for step in range(32) if PROGRESSIVE.sorts_channels_at(step)] == [20]
    assert ScheduleConfig().first_steps == (0,)
    assert not ScheduleConfig().sorts_channels_at(0)


def test_every_phase_has_a_learning_rate_as_if_it_were_alone() -> None:
    rates = [PROGRESSIVE.learning_rate_at(step) for step in range(32)]
    alone = [
        ScheduleConfig(num_images=96, batch_size=8, learning_rate=1.0, warmup_images=16),
        ScheduleConfig(num_images=64, batch_size=8, learning_rate=0.5, warmup_images=0),
        ScheduleConfig(num_images=96, batch_size=8, learning_rate=1.0, warmup_images=16),
    ]
    assert rates == [schedule.learning_rate_at(step) for schedule in alone for step in range(schedule.num_steps)]
    assert PROGRESSIVE.reaches_its_peak
    assert not ScheduleConfig(num_images=100, warmup_images=100).reaches_its_peak


def test_a_phase_trains_what_it_opens(tiny_space: SearchSpace) -> None:
    steps = [PROGRESSIVE.subnets_at(tiny_space, step, seed=0) for step in range(32)]
    assert all(drawn.trained == (tiny_space.largest(drawn.resolution),) for drawn in steps[:12])
    for drawn in steps[12:20]:
        assert drawn.teacher == tiny_space.largest(drawn.resolution)
        assert len(drawn.trained) == 3
        assert {len(blocks) for subnet in drawn.trained for blocks in subnet.stages[1:]} == {2}
        assert {block.expand_ratio for subnet in drawn.trained for b in subnet.stages[1:] for block in b} == {4}
    later = [block for drawn in steps[20:] for subnet in drawn.trained for b in subnet.stages[1:] for block in b]
    assert {block.expand_ratio for block in later} == {3, 4}
    assert {len(drawn.trained) for drawn in steps[20:]} == {2}


def test_without_phases_all_is_open(tiny_space: SearchSpace) -> None:
    schedule = ScheduleConfig(random_subnets=2)
    for number in range(10):
        drawn = schedule.subnets_at(tiny_space, number, seed=3)
        assert (drawn.trained, drawn.teacher) == (sandwich(tiny_space, number, random_subnets=2, seed=3), None)
    losses = LossConfig(distill_weight=0.25)
    assert schedule.losses_at(0, losses) == losses


def test_a_phase_says_what_the_teacher_is_worth() -> None:
    found = [PROGRESSIVE.losses_at(step, LossConfig(box_weight=3.0)) for step in (0, 12, 20)]
    assert [(losses.distill_weight, losses.distillation) for losses in found] == [
        (1.0, "adds"),
        (0.5, "adds"),
        (1.0, "replaces"),
    ]
    assert {losses.box_weight for losses in found} == {3.0}


def test_the_preset_opens_the_published_space_step_by_step() -> None:
    schedule, space = read_config(TrainConfig, "train/progressive").schedule, read_space("ssdlite_mbv3")
    parts = [space.restricted(phase).stages[-1] for phase in schedule.phases]
    assert [(part.kernel_sizes, part.depths, part.expand_ratios) for part in parts] == [
        ((7,), (4,), (6,)),
        ((3, 5, 7), (4,), (6,)),
        ((3, 5, 7), (3, 4), (6,)),
        ((3, 5, 7), (2, 3, 4), (6,)),
        ((3, 5, 7), (2, 3, 4), (4, 6)),
        ((3, 5, 7), (2, 3, 4), (3, 4, 6)),
    ]
    assert space.restricted(schedule.phases[-1]) == space
    assert [phase.random_subnets for phase in schedule.phases] == [0, 1, 2, 2, 4, 4]
    assert [phase.sort_channels for phase in schedule.phases] == [False] * 4 + [True, False]
    written = read_yaml(configs_folder() / "train/progressive.yaml")["schedule"]["phases"]
    assert all(phase.keys() == {field.name for field in fields(PhaseConfig)} for phase in written)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"num_images": 200}, "num_images 260, the sum of the phases', found 200"),
        ({"batch_size": 64}, "num_images >= 64, a batch, in phase 2, found 60"),
        ({"random_subnets": 0, "subnets": "random"}, "random_subnets >= 1"),
    ],
)
def test_phases_that_do_not_fit_the_schedule_are_refused(mistake: dict[str, object], message: str) -> None:
    options = {"num_images": 260, "batch_size": 8, "phases": PROGRESSIVE.phases}
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(**options | mistake)


@pytest.mark.parametrize(
    "mistake",
    [{"num_images": 0}, {"learning_rate": 0.0}, {"warmup_images": -1}, {"subnets": "all"}, {"depth_choices": 0}],
)
def test_mistakes_in_a_phase_are_named(mistake: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"expected {next(iter(mistake))}"):
        PhaseConfig(**{"num_images": 100} | mistake)


def test_channels_are_sorted_only_where_the_expansion_opens() -> None:
    wide, narrow = (PhaseConfig(num_images=100, expansion_choices=count) for count in (1, 2))
    last = PhaseConfig(num_images=100, sort_channels=True)
    assert ScheduleConfig(num_images=200, phases=(wide, last)).sorts_channels_at(6)
    assert ScheduleConfig(num_images=100, phases=(last,)).sorts_channels_at(0)
    with pytest.raises(ValueError, match="behind phases of expansion_choices 1, found it in phase 2"):
        ScheduleConfig(num_images=200, phases=(narrow, last))
    # That the phase before is wide again does not help those that were narrow before it.
    with pytest.raises(ValueError, match="behind phases of expansion_choices 1, found it in phase 3"):
        ScheduleConfig(num_images=300, phases=(narrow, wide, last))
    with pytest.raises(ValueError, match="behind phases of expansion_choices 1, found it in phase 4"):
        ScheduleConfig(num_images=400, phases=(wide, last, wide, last))


@pytest.mark.parametrize(
    "mistake",
    [
        {"num_images": 0},
        {"batch_size": 1},
        {"learning_rate": 0},
        {"ema_decay": 1.0},
        {"weight_decay": -1},
        {"closing_images": -1},
        {"warmup_images": -1},
        {"random_subnets": -1},
        {"clip_norm": 0},
        {"subnets": "all"},
    ],
)
def test_mistakes_are_named(mistake: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(mistake))):
        ScheduleConfig(**mistake)
