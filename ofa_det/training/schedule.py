"""What happens at which step; every answer is a function of the step alone, so that a resumed run repeats it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal, get_args

from ofa_det.arch.space import Subnets
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.draws import Phase

ArithmeticPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Length and pace of a training.

    Args:
        num_images: training images to draw in all, whatever number of subnets trains on each.
        batch_size: images of one step.
        learning_rate: peak of AdamW's.
        weight_decay: AdamW's, on convolution weights only.
        closing_images: images at the end that are drawn without mosaic.
        warmup_images: images over which the learning rate rises from zero; it then falls to zero as a cosine.
        ema_decay: of the exponential moving average of the weights, per step; the average is what is evaluated and
            saved.
        clip_norm: greatest norm of the gradient.
        random_subnets: subnets drawn at each step beside the largest and the smallest (sandwich rule); unused when one
            subnet trains.
        precision: of the arithmetic, as Lightning Fabric names it.
    """

    num_images: int = 20_000
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_images: int = 1_000
    closing_images: int = 0
    ema_decay: float = 0.998
    clip_norm: float = 10.0
    random_subnets: int = 1
    precision: ArithmeticPrecision = "32-true"

    def __post_init__(self) -> None:
        if self.num_images < 1:
            raise ValueError(f"expected num_images >= 1, found {self.num_images}")
        if self.batch_size < 2:
            raise ValueError(f"expected batch_size >= 2, since batch norm needs two values, found {self.batch_size}")
        for name in ("learning_rate", "clip_norm"):
            if getattr(self, name) <= 0:
                raise ValueError(f"expected {name} > 0, found {getattr(self, name)}")
        for name in ("weight_decay", "warmup_images", "closing_images", "random_subnets"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} >= 0, found {getattr(self, name)}")
        if self.precision not in get_args(ArithmeticPrecision):
            known = ", ".join(get_args(ArithmeticPrecision))
            raise ValueError(f"expected a precision of {known}, found {self.precision!r}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"expected ema_decay in [0, 1), found {self.ema_decay}")

    @property
    def num_steps(self) -> int:
        """Steps in all; the last images short of a batch are not drawn."""
        return max(1, self.num_images // self.batch_size)

    def phase_at(self, step: int) -> Phase:
        """Phase of a step."""
        return "closing" if step >= self.num_steps - self.closing_images // self.batch_size else "main"

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        warmup = self.warmup_images / self.batch_size
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(1.0, self.num_steps - warmup)
        return self.learning_rate * (1 + math.cos(math.pi * progress)) / 2

    def ema_decay_at(self, step: int) -> float:
        """Decay of the weights' average after a step, such that the weights so far weigh in by `ema_decay` alone.

        It is 0 at the first step, since the average begins with nothing (bias correction of Adam, section 3).
        """
        return self.ema_decay * (1 - self.ema_decay**step) / (1 - self.ema_decay ** (step + 1))


def sandwich(subnets: Subnets, step: int, *, random_subnets: int, seed: int) -> tuple[SubnetConfig, ...]:
    """The subnets that train at a step (BigNAS, section 3.2), all at one resolution.

    Returns:
        The largest first, since it teaches, then the random ones, then the smallest.
    """
    rng = random.Random(f"subnets/{seed}/{step}")
    resolution = rng.choice(subnets.resolutions)
    drawn = (subnets.sample(rng, resolution) for _ in range(random_subnets))
    return tuple(dict.fromkeys((subnets.largest(resolution), *drawn, subnets.smallest(resolution))))
