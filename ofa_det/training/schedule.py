"""What happens at which step; every answer is a function of the step alone, so that a resumed run repeats it."""

from __future__ import annotations

import bisect
import itertools
import math
import random
from dataclasses import dataclass, replace
from typing import Literal, get_args

from ofa_det.arch.space import Subnets
from ofa_det.arch.stages import OpenChoices
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.draws import Phase
from ofa_det.detection.losses import Distillation, LossConfig

ArithmeticPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]
SubnetRule = Literal["sandwich", "largest_and_one", "alternating", "random"]
"""Which subnets train at a step, all at one resolution.

`sandwich` (BigNAS, section 3.2): the largest, which teaches the others, `random_subnets` random ones, the smallest.
`largest_and_one`: the largest, which teaches, and one random one: the sandwich without the smallest, which costs least.
`alternating`: one subnet, in even steps the largest, in odd ones a random one; the cheapest, and nobody teaches.
`random` (Once-for-All, section 3.3): `random_subnets` random ones. With distillation the largest teaches them and is
not trained: one forward pass of it without gradient, about a third of the time of its training and less of its memory.
"""


@dataclass(frozen=True, kw_only=True)
class PhaseConfig(OpenChoices):
    """A part of a training in which only some choices of the space are open (Once-for-All, section 3.3).

    An option that is none, null in YAML, is as the schedule and the losses have it.

    Differs from the paper: the teacher is the largest subnet of the moment, not of the first phase, and optimiser and
    average go on from the phase before, unless channels are sorted.

    Args:
        num_images: training images to draw.
        learning_rate: peak; a phase has a warm-up and a cosine of its own.
        warmup_images: images over which the learning rate rises from zero; 0 begins at the peak.
        subnets: which train at a step.
        random_subnets: drawn at a step.
        distill_weight: factor of the losses against the teacher.
        distillation: whether what the teacher says adds to the labels or replaces them.
        sort_channels: begin by putting the channels of elastic widths in the order of their weight (Once-for-All,
            section 3.3), before the expansion opens; the phase then goes on from the averaged weights, with a new
            optimiser and a new average.
    """

    num_images: int
    learning_rate: float | None = None
    warmup_images: int | None = None
    subnets: SubnetRule | None = None
    random_subnets: int | None = None
    distill_weight: float | None = None
    distillation: Distillation | None = None
    sort_channels: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_pace(self)


@dataclass(frozen=True, kw_only=True)
class StepSubnets:
    """The subnets of a step, all of one resolution.

    Args:
        trained: in this order; the first teaches the others where `teacher` is none.
        teacher: one that teaches all of them and is not trained.
    """

    trained: tuple[SubnetConfig, ...]
    teacher: SubnetConfig | None = None

    @property
    def resolution(self) -> int:
        """Side of the square input, in pixels."""
        return self.trained[0].resolution


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Length and pace of a training.

    Args:
        num_images: training images to draw in all, whatever number of subnets trains on each; the sum of the phases' if
            there are any.
        batch_size: images of one step, over all ranks of a torchrun together.
        learning_rate: peak of AdamW's.
        backbone_rate: factor of the learning rate for the backbone; below 1 keeps more of the weights it started from.
        weight_decay: AdamW's, on convolution weights only.
        closing_images: images at the end that are drawn without mosaic.
        warmup_images: images over which the learning rate rises from zero; it then falls to zero as a cosine.
        ema_decay: of the exponential moving average of the weights, per step; the average is what is evaluated and
            saved.
        clip_norm: greatest norm of the gradient.
        subnets: which train at a step: sandwich, largest_and_one, alternating or random; a step's cost grows with their
            number. Unused when one subnet trains.
        random_subnets: subnets drawn at each step under the rules sandwich and random. Unused when one subnet trains.
        phases: of progressive shrinking, in order; without any, all of the space is open from the start. Refused when
            one subnet trains.
        precision: of the arithmetic, as Lightning Fabric names it.
        accumulate: parts that a rank runs its images of a step in, one after another, for want of memory. The losses
            are those of the whole batch, but each part has a batch norm of its own.
        sync_batch_norm: of several ranks, normalise by the images of all of them, so that with accumulate 1 their
            number changes no result; with 16 images or more on each it can be off, which is faster.
    """

    num_images: int = 20_000
    batch_size: int = 16
    learning_rate: float = 1e-3
    backbone_rate: float = 1.0
    weight_decay: float = 0.01
    warmup_images: int = 1_000
    closing_images: int = 0
    ema_decay: float = 0.998
    clip_norm: float = 10.0
    subnets: SubnetRule = "sandwich"
    random_subnets: int = 1
    phases: tuple[PhaseConfig, ...] = ()
    precision: ArithmeticPrecision = "32-true"
    accumulate: int = 1
    sync_batch_norm: bool = True

    def __post_init__(self) -> None:
        _check_pace(self)
        if self.batch_size < 2:
            raise ValueError(f"expected batch_size >= 2, since batch norm needs two values, found {self.batch_size}")
        if self.accumulate < 1 or self.batch_size % self.accumulate or self.batch_size < 2 * self.accumulate:
            raise ValueError(
                "expected accumulate to divide batch_size into equal parts of at least 2 images, found "
                f"accumulate {self.accumulate} and batch_size {self.batch_size}"
            )
        for name in ("weight_decay", "closing_images"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} >= 0, found {getattr(self, name)}")
        if self.clip_norm <= 0:
            raise ValueError(f"expected clip_norm > 0, found {self.clip_norm}")
        if self.precision not in get_args(ArithmeticPrecision):
            known = ", ".join(get_args(ArithmeticPrecision))
            raise ValueError(f"expected a precision of {known}, found {self.precision!r}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"expected ema_decay in [0, 1), found {self.ema_decay}")
        self._check_phases()

    @property
    def num_steps(self) -> int:
        """Steps in all; the last images short of a batch are not drawn."""
        return max(1, self.num_images // self.batch_size)

    def phase_at(self, step: int) -> Phase:
        """Whether a step's images are drawn as in the main part or as at the end."""
        return "closing" if step >= self.num_steps - self.closing_images // self.batch_size else "main"

    @property
    def first_steps(self) -> tuple[int, ...]:
        """Of the phases of progressive shrinking; of the whole training where there are none."""
        ends = itertools.accumulate(phase.num_images for phase in self.phases[:-1])
        return (0, *(end // self.batch_size for end in ends))

    def shrinking_phase_at(self, step: int) -> PhaseConfig:
        """The phase of progressive shrinking of a step; the whole training where there are none."""
        return self._all_phases[bisect.bisect_right(self.first_steps, step) - 1]

    def sorts_channels_at(self, step: int) -> bool:
        """Whether channels are put in order before a step."""
        return step in self.first_steps and self.shrinking_phase_at(step).sort_channels

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        index = bisect.bisect_right(self.first_steps, step)
        first, end = self.first_steps[index - 1], (*self.first_steps, self.num_steps)[index]
        peak, warmup_images = self._pace(self._all_phases[index - 1])
        warmup = warmup_images / self.batch_size
        if step - first < warmup:
            return peak * (step - first + 1) / (warmup + 1)
        progress = (step - first - warmup) / max(1.0, end - first - warmup)
        return peak * (1 + math.cos(math.pi * progress)) / 2

    @property
    def reaches_its_peak(self) -> bool:
        """Whether no warm-up takes a phase's whole length."""
        return all(self._pace(phase)[1] < phase.num_images for phase in self._all_phases)

    def ema_decay_at(self, step: int) -> float:
        """Decay of the weights' average after a step, such that the weights so far weigh in by `ema_decay` alone.

        It is 0 at the first step, since the average begins with nothing (bias correction of Adam, section 3).
        """
        return self.ema_decay * (1 - self.ema_decay**step) / (1 - self.ema_decay ** (step + 1))

    def subnets_at(self, subnets: Subnets, step: int, *, seed: int) -> StepSubnets:
        """The subnets of a step.

        Args:
            subnets: all that train together.
            step: of the training.
            seed: of the training.
        """
        phase = self.shrinking_phase_at(step)
        rule, random_subnets = self._rule(phase)
        return draw_subnets(subnets.restricted(phase), step, rule=rule, random_subnets=random_subnets, seed=seed)

    def losses_at(self, step: int, losses: LossConfig) -> LossConfig:
        """The losses of a step: those given, but for what its phase says of the teacher."""
        phase = self.shrinking_phase_at(step)
        weight = losses.distill_weight if phase.distill_weight is None else phase.distill_weight
        return replace(losses, distill_weight=weight, distillation=phase.distillation or losses.distillation)

    @property
    def _all_phases(self) -> tuple[PhaseConfig, ...]:
        return self.phases or (PhaseConfig(num_images=self.num_images),)

    def _pace(self, phase: PhaseConfig) -> tuple[float, int]:
        """Peak of the learning rate and images of its warm-up."""
        return (
            self.learning_rate if phase.learning_rate is None else phase.learning_rate,
            self.warmup_images if phase.warmup_images is None else phase.warmup_images,
        )

    def _rule(self, phase: PhaseConfig) -> tuple[SubnetRule, int]:
        """Which subnets train at a step, and how many random ones."""
        count = self.random_subnets if phase.random_subnets is None else phase.random_subnets
        return phase.subnets or self.subnets, count

    def _check_phases(self) -> None:
        for phase in self._all_phases:
            if self._rule(phase) == ("random", 0):
                raise ValueError("expected random_subnets >= 1 where random ones alone train, found 0")
        narrowed = False
        for number, phase in enumerate(self.phases, start=1):
            if phase.num_images < self.batch_size:
                raise ValueError(
                    f"expected num_images >= {self.batch_size}, a batch, in phase {number}, found {phase.num_images}"
                )
            # Narrow subnets that have trained would lose their channels to others.
            if phase.sort_channels and narrowed:
                raise ValueError(
                    f"expected sort_channels only behind phases of expansion_choices 1, found it in phase {number}; "
                    "sort once, where the expansion opens"
                )
            narrowed = narrowed or phase.expansion_choices != 1
        if self.phases and self.num_images != (total := sum(phase.num_images for phase in self.phases)):
            raise ValueError(f"expected num_images {total}, the sum of the phases', found {self.num_images}")


def draw_subnets(subnets: Subnets, step: int, *, rule: SubnetRule, random_subnets: int, seed: int) -> StepSubnets:
    """The subnets that train at a step under a rule."""
    if rule == "sandwich":
        return StepSubnets(trained=sandwich(subnets, step, random_subnets=random_subnets, seed=seed))
    rng, resolution = _of_step(subnets, step, seed)
    largest = subnets.largest(resolution)
    if rule == "alternating":
        return StepSubnets(trained=(subnets.sample(rng, resolution) if step % 2 else largest,))
    if rule == "largest_and_one":
        return StepSubnets(trained=tuple(dict.fromkeys((largest, subnets.sample(rng, resolution)))))
    drawn = dict.fromkeys(subnets.sample(rng, resolution) for _ in range(random_subnets))
    if largest in drawn:  # It learns from the labels, and need not run twice.
        return StepSubnets(trained=tuple(dict.fromkeys((largest, *drawn))))
    return StepSubnets(trained=tuple(drawn), teacher=largest)


def sandwich(subnets: Subnets, step: int, *, random_subnets: int, seed: int) -> tuple[SubnetConfig, ...]:
    """The subnets that train at a step (BigNAS, section 3.2), all at one resolution.

    Returns:
        The largest first, since it teaches, then the random ones, then the smallest.
    """
    rng, resolution = _of_step(subnets, step, seed)
    drawn = (subnets.sample(rng, resolution) for _ in range(random_subnets))
    return tuple(dict.fromkeys((subnets.largest(resolution), *drawn, subnets.smallest(resolution))))


def _of_step(subnets: Subnets, step: int, seed: int) -> tuple[random.Random, int]:
    """Random state and resolution of a step."""
    rng = random.Random(f"subnets/{seed}/{step}")
    return rng, rng.choice(subnets.resolutions)


def _check_pace(pace: ScheduleConfig | PhaseConfig) -> None:
    """Refuses what can be no pace; what a phase leaves to the schedule is none."""
    if pace.num_images < 1:
        raise ValueError(f"expected num_images >= 1, found {pace.num_images}")
    if pace.learning_rate is not None and pace.learning_rate <= 0:
        raise ValueError(f"expected learning_rate > 0, found {pace.learning_rate}")
    for name in ("warmup_images", "random_subnets"):
        if (value := getattr(pace, name)) is not None and value < 0:
            raise ValueError(f"expected {name} >= 0, found {value}")
    if pace.subnets is not None and pace.subnets not in get_args(SubnetRule):
        raise ValueError(f"expected subnets of {', '.join(get_args(SubnetRule))}, found {pace.subnets!r}")
